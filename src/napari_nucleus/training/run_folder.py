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
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.training.progress import Step


class RunFolder:
    """Folder of a training run.

    Attributes
    ----------
    path : Path
        The folder.
    best, last
        Checkpoints: of the highest validation score, and of the last validation.
    state
        What a run is resumed from.
    log
        CSV: step, epoch, time, seconds that the step took and that the network had of them, loss of
        every branch, scores as JSON where the step was validated.
    curves
        The log as a figure, at the end of the run.

    Parameters
    ----------
    path : Path
        The folder, made when there is something to keep.
    resume : bool
        Whether to continue the run that it contains.
    writes : bool
        Whether this process is the one that keeps what all make.

    Raises
    ------
    UserError
        If there is no run to resume, or a run or model that would be overwritten.
    """

    def __init__(self, path: Path, resume: bool, writes: bool = True) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.state = path / "state.pt"
        self.log = path / "log.csv"
        self.curves = path / "curves.png"
        if resume and not self.state.is_file():
            raise UserError(f"{path} does not contain a run to resume: leave out --resume.")
        if not resume and self.state.exists():
            raise UserError(
                f"{path} contains a run: add --resume to continue it, or choose another folder."
            )
        if not resume and (self.best.exists() or self.last.exists()):
            raise UserError(f"{path} already contains a model: choose another folder.")
        self._continues = resume
        self._writes = writes

    def save_weights(self, path: Path, model: NucleusModel) -> None:
        """Save a checkpoint, replacing the previous one.

        Parameters
        ----------
        path : Path
            `best` or `last`.
        model : NucleusModel
            The model to save.
        """
        if self._writes:
            save_checkpoint(path, model)

    def save_state(self, state: dict[str, Any]) -> None:
        """Save a state, replacing the previous one.

        Parameters
        ----------
        state : dict of str to Any
            What PyTorch reads with ``weights_only=True``.
        """
        if self._writes:
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
            step = state["progress"]["step"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.state} is damaged: start from {self.last} with --init in another folder."
            ) from error
        if self._writes:
            self._rewind(step)
        return state

    def add(self, step: Step) -> None:
        """Log a step.

        Parameters
        ----------
        step : Step
            The step that was taken.
        """
        if not self._writes:
            return
        row = {
            "step": step.step,
            "epoch": step.epoch,
            "time": datetime.now().isoformat(timespec="seconds"),
            "seconds": round(step.seconds, 4),
            "network_seconds": round(step.network_seconds, 4),
            **{branch: round(loss, 4) for branch, loss in step.losses.items()},
            "scores": json.dumps(step.scores) if step.scores else "",
        }
        with write_errors(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            mode = "a" if self._continues else "w"
            with self.log.open(mode, newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if not self._continues:
                    writer.writerow(row)
                writer.writerow(row.values())
        self._continues = True

    def _rewind(self, step: int) -> None:
        """Forget what was logged after a step; the last row may be cut short."""
        with self.log.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        whole = (row for row in rows if len(row) == len(header))
        with replacing(self.log) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in whole if int(row[0]) <= step)])
