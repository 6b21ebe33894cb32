"""News of the results that the window shows, for all widgets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from qtpy.QtCore import QObject, Signal

from napari_nucleus.edits.session import EditSession


class ResultEditor(Protocol):
    """What corrects a result in the window.

    Attributes
    ----------
    session : EditSession
        The result.
    """

    session: EditSession

    def apply(self, operation: Callable[..., Any], *arguments: object) -> bool:
        """Correct the result (`EditSession.apply`); return whether it was possible."""

    def take_in(self) -> bool:
        """Make what was painted part of the result; return whether it was possible."""

    def undo(self) -> bool:
        """Undo the last change; return whether it was possible."""

    def redo(self) -> bool:
        """Redo the change that was undone last; return whether it was possible."""

    def show(self, label: int) -> bool:
        """Bring a nucleus into view; return whether it was possible."""


class ShownResults(QObject):
    """Tells every widget what happens to results.

    Types and counts of a result are in the metadata of its `nuclei` layer, at any moment.

    Attributes
    ----------
    editors : dict of Path to ResultEditor
        The results that are being corrected.
    """

    changed = Signal(object)
    """Folder (`Path`) of a result whose nuclei, types or display changed."""

    def __init__(self) -> None:
        super().__init__()
        self.editors: dict[Path, ResultEditor] = {}


shown_results = ShownResults()
"""The one of this process."""
