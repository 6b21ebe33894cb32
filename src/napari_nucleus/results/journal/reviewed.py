"""Regions of a result in which every nucleus has been seen: only these train."""

from pathlib import Path

from napari_nucleus.results.journal.edit import Region
from napari_nucleus.results.journal.history import History
from napari_nucleus.results.journal.journal import Journal
from napari_nucleus.results.journal.state import Notes


def reviewed_regions(path: Path) -> list[Region]:
    """Return the regions of a result folder that are marked as reviewed.

    Parameters
    ----------
    path : Path
        The result folder.

    Returns
    -------
    list
        Boxes (x0, y0, x1, y1) in level-0 pixels, half open, within the image, in the order in
        which they were marked; they may overlap.

    Raises
    ------
    UserError
        If the journal is damaged.
    OSError
        If there is no such result.
    """
    notes = Notes.read(path, {})
    for edit in History(Journal(path), notes.saved).since_saved():
        notes.apply(edit)
    return notes.reviewed
