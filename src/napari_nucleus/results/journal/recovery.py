"""Bring the labels to where the journal stands, after a process was killed between the two."""

from pathlib import Path

from napari_nucleus.files import write_errors
from napari_nucleus.results.journal.history import History
from napari_nucleus.results.journal.journal import Journal
from napari_nucleus.results.journal.lock import try_lock
from napari_nucleus.results.journal.state import Notes
from napari_nucleus.results.labels import open_labels


def recover(folder: Path) -> None:
    """Settle a result that nobody is correcting; one that is settled is only read.

    Parameters
    ----------
    folder : Path
        The result folder.

    Raises
    ------
    UserError
        If there is something to write, and it cannot be written.
    """
    if is_settled(folder, _history(folder)):
        return
    with write_errors(folder):
        lock = try_lock(folder)
        if lock is None:  # whoever has it is about to write the same
            return
        try:
            settle(folder, _history(folder))  # read again: now nobody adds to it
        finally:
            lock.release()


def is_settled(folder: Path, history: History) -> bool:
    """Tell whether the labels show the last correction.

    Parameters
    ----------
    folder : Path
        The result folder.
    history : History
        Its corrections.
    """
    levels = open_labels(folder / "labels.zarr")
    return all(pixels.is_in(levels) for pixels in history.unsettled())


def settle(folder: Path, history: History) -> None:
    """Write the last correction into the labels where they do not show it.

    Parameters
    ----------
    folder : Path
        The result folder.
    history : History
        Its corrections.

    Raises
    ------
    OSError
        If the disk is full or the labels cannot be written to.
    """
    levels = open_labels(folder / "labels.zarr", writable=True)
    for pixels in history.unsettled():
        pixels.write(levels)


def _history(folder: Path) -> History:
    return History(Journal(folder), Notes.read(folder, {}).saved)
