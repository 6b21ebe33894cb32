"""Folders of retrainings: create, resume, discard, and publish the model by a name."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, write_errors
from napari_nucleus.retraining.config import Retraining
from napari_nucleus.weights.store import list_checkpoints, trained_dir

SAMPLES = "samples.npz"
"""Training and validation set of a run."""

_JOB, _STATE, _LAST, _LOCK = "retraining.json", "state.pt", "last.safetensors", "run.lock"

_ADAPTER = TypeAdapter(Retraining)


def runs_dir() -> Path:
    """Return the folder in which a user's retrainings are kept."""
    return platformdirs.user_data_path("napari-nucleus") / "runs"


def new_run() -> Path:
    """Return a folder for a run, and discard the state of interrupted runs.

    Their best models stay; the large files needed to resume are deleted.
    """
    while (earlier := interrupted_run()) is not None:
        forget_state(earlier)
    name = f"{datetime.now():%Y-%m-%d %H.%M.%S}"
    path, number = runs_dir() / name, 1
    while path.exists():
        number += 1
        path = runs_dir() / f"{name} ({number})"
    return path


def interrupted_run() -> Path | None:
    """Return the latest interrupted run that can be resumed; None if there is none."""
    runs = sorted(runs_dir().glob("*"), reverse=True)
    return next((path for path in runs if read_job(path) and not _is_locked(path)), None)


def forget_state(run: Path) -> None:
    """Delete the files needed to resume a run; its best model stays.

    Parameters
    ----------
    run : Path
        Folder of the run.
    """
    for name in (_STATE, SAMPLES, _LAST):
        (run / name).unlink(missing_ok=True)


def save_job(job: Retraining, run: Path) -> None:
    """Write the settings of a run.

    Parameters
    ----------
    job : Retraining
        The settings of the run.
    run : Path
        Folder of the run.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with replacing(run / _JOB) as part:
        part.write_bytes(_ADAPTER.dump_json(job, indent=1))


def read_job(run: Path) -> Retraining | None:
    """Return the settings of a run that can be resumed; None if it cannot.

    Parameters
    ----------
    run : Path
        Folder of the run.
    """
    try:
        job = _ADAPTER.validate_json((run / _JOB).read_bytes())
    except (OSError, ValidationError):
        return None
    return job if (run / _STATE).exists() else None


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Lock a run against other windows and processes.

    Parameters
    ----------
    run : Path
        Folder of the run.

    Raises
    ------
    UserError
        If another window or process trains there, or the folder cannot be written to.
    """
    with write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        # a window may close what a thread has opened
        lock = FileLock(run / _LOCK, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(f"{run} is being trained in by another window.") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _is_locked(run: Path) -> bool:
    if not (run / _LOCK).exists():
        return False
    try:
        with FileLock(run / _LOCK, blocking=False):
            return False
    except Timeout:
        return True


def use_model(checkpoint: Path, name: str) -> Path:
    """Put a model among those that are found by name.

    Parameters
    ----------
    checkpoint : Path
        What a retraining made.
    name : str
        Letters, digits, spaces, ``.``, ``-`` and ``_``.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    UserError
        If the name is invalid or taken, or the copy cannot be written.
    """
    name = name.strip()
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise UserError("Name the model with letters, digits, spaces, dots, - and _.")
    if name in list_checkpoints():
        raise UserError(f"There is a model {name!r} already: choose another name.")
    path = trained_dir() / f"{name}.safetensors"
    with replacing(path) as part:
        shutil.copyfile(checkpoint, part)
    return path
