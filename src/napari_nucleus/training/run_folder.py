"""The folder of a training run: weights, state to resume from, log."""

import csv
import io
import json
import logging
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import torch

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, write_errors
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.training.curves import read_log
from napari_nucleus.training.progress import Step

_log = logging.getLogger(__name__)

_STATE = {"progress", "model", "average", "scaler", "optimizer"}
"""Parts of a state."""


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
        if resume and not self.state.exists():
            raise UserError(f"{path} does not contain a run to resume: start a new one.")
        if not resume and self.state.exists():
            raise UserError(
                f"{path} contains a run: resume it, or choose another folder.", setting="resume"
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

        A damaged log is set aside; its whole rows go on.

        Raises
        ------
        UserError
            If the state is damaged; all files stay as they are.
        """
        try:
            state = torch.load(self.state, map_location="cpu", weights_only=True)
            step = int(state["progress"]["step"])
            if missing := _STATE - state.keys():
                raise KeyError(*missing)
        except Exception as error:  # garbage can make PyTorch's reader fail in any way
            advice = f"start from {self.last} in" if self.last.is_file() else "start again in"
            raise UserError(
                f"{self.state} is damaged: {advice} another folder.",
                setting="init" if self.last.is_file() else "",
            ) from error
        if self._writes:
            with write_errors(self.log):
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
        """Keep the rows of the log up to a step; the last row may be cut short."""
        rows = read_log(self.log)
        text = io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(text, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        if self.log.exists() and not _only_cut_short(self.log, text.getvalue()):
            aside = _free(self.log.with_name("log-damaged.csv"))
            self.log.rename(aside)
            _log.warning("%s is damaged, and kept as %s.", self.log, aside.name)
        kept = [row for row in rows if int(row["step"]) <= step]
        self._continues = bool(kept)
        if kept:
            with replacing(self.log) as part, part.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([kept[0], *(row.values() for row in kept)])


def _only_cut_short(log: Path, whole: str) -> bool:
    """Return whether a log holds its whole rows, and at most the beginning of another one."""
    if not log.is_file():
        return False
    text = log.read_bytes().decode(errors="replace")
    return text.startswith(whole) and bool(whole) and "\n" not in text[len(whole) :]


def _free(path: Path) -> Path:
    """Return the path, with a number if it is taken."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(free for free in numbered if not free.exists())
