"""The folder of a training run: weights, state to resume from, log."""

import csv
import json
import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, write_errors


class RunFolder:
    """Where a training run keeps what it makes.

    Attributes
    ----------
    best, last
        Checkpoints: of the highest validation score, and of the last validation.
    state
        What a run is resumed from.
    log
        CSV: step, time, loss of every branch, scores as JSON where the step was validated.

    Parameters
    ----------
    path
        The folder, made when there is something to keep.
    resume
        Whether it holds a run to go on with.

    Raises
    ------
    UserError
        If there is no run to resume, or there is one that would be overwritten.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state.pt"
        self.log = path / "log.csv"
        if resume and not self.state.is_file():
            raise UserError(f"{path} holds no run to resume: leave --resume out.")
        if not resume and self.state.exists():
            raise UserError(f"{path} holds a run: add --resume to go on, or choose another folder.")
        self._continues = resume

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep a state, in place of the one before it."""
        with replacing(self.state) as part, part.open("wb") as file:
            torch.save(state, file)

    def load_state(self) -> dict[str, Any]:
        """Return the state that was kept last, and forget what was logged after it.

        Raises
        ------
        UserError
            If it is damaged.
        """
        try:
            state = torch.load(self.state, map_location="cpu", weights_only=True)
            step = state["step"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.state} is damaged: start from {self.last} with --init in another folder."
            ) from error
        with self.log.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        with replacing(self.log) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in rows if int(row[0]) <= step)])
        return state

    def add(self, step: int, losses: dict[str, float], scores: dict[str, Any] | None) -> None:
        """Log a step."""
        values = [round(loss, 4) for loss in losses.values()]
        now = datetime.now().isoformat(timespec="seconds")
        with write_errors(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            mode = "a" if self._continues else "w"
            with self.log.open(mode, newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if not self._continues:
                    writer.writerow(["step", "time", *losses, "scores"])
                writer.writerow([step, now, *values, json.dumps(scores) if scores else ""])
        self._continues = True
