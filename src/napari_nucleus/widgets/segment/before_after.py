"""Compare a result before and after it was segmented again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.components import LayerList
from napari.layers import Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.layers import labels_of, nuclei_layers, renew
from napari_nucleus.widgets.shared.shown_results import shown_results


@dataclass(frozen=True)
class Comparison:
    """An edit to compare.

    Attributes
    ----------
    folder : Path
        The result.
    number : int
        Number of the edit in its journal.
    slide : Slide
        The image.
    transform : mapping of str to Any
        Position and scale of its layers.
    """

    folder: Path
    number: int
    slide: Slide
    transform: Mapping[str, Any]


class BeforeAfter(QWidget):
    """Undoes and redoes the last edit of a result, as long as it is the last one.

    Parameters
    ----------
    layers : LayerList
        Those of the viewer.
    """

    told = Signal(str)
    """A line for the user."""
    switched = Signal()
    """The layers show the other state, or it could not be shown."""

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        self._layers = layers
        self._comparison: Comparison | None = None
        self.before = QPushButton("Before")
        self.after = QPushButton("After")
        self.keep_button = QPushButton("Keep")
        self.before.setToolTip("Show and keep the nuclei as they were")
        self.after.setToolTip("Show and keep the new nuclei")
        self.keep_button.setToolTip("Keep what is shown, and close the comparison")
        group = QButtonGroup(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for button in (self.before, self.after):
            button.setCheckable(True)
            group.addButton(button)
            row.addWidget(button)
        row.addWidget(self.keep_button)
        self.before.clicked.connect(lambda: self._switch(after=False))
        self.after.clicked.connect(lambda: self._switch(after=True))
        self.keep_button.clicked.connect(self.close_comparison)
        self.hide()

    def compare(self, comparison: Comparison) -> None:
        """Offer to compare; the state after the edit is shown."""
        self._comparison = comparison
        self.after.setChecked(True)
        self.show()

    def close_comparison(self) -> None:
        """Keep what is shown."""
        self._comparison = None
        self.hide()

    def _switch(self, after: bool) -> None:
        if self._comparison is None:
            return
        folder, number = self._comparison.folder, self._comparison.number
        if (editor := shown_results.editors.get(folder)) is None:
            self.setEnabled(False)
            in_background(_switched, self._comparison, after, then=self._on_switched)
            return
        editor.take_in()
        if _is_next(editor.session, number, after):
            (editor.redo if after else editor.undo)()
        elif not _is_next(editor.session, number, not after):
            self._give_up(folder)
        self.switched.emit()

    def _on_switched(self, outcome: tuple[Labels, Labels] | Failure | None) -> None:
        self.setEnabled(True)
        comparison = self._comparison
        if comparison is None:
            return
        if isinstance(outcome, Failure):
            self.close_comparison()
            if not isinstance(outcome.error, UserError):
                raise outcome.error
            self.told.emit(str(outcome.error))
        elif outcome is None:
            self._give_up(comparison.folder)
        else:
            for new in outcome:
                shown = labels_of(comparison.folder, new.metadata["shows"], self._layers)
                if shown is not None:
                    renew(shown, new)
        self.switched.emit()

    def _give_up(self, folder: Path) -> None:
        self.close_comparison()
        self.told.emit(f"{folder.stem} was corrected since: undo in Correct nuclei to go back.")


def _is_next(session: EditSession, number: int, redo: bool) -> bool:
    stack = session.undone if redo else session.done
    return bool(stack) and stack[-1].number == number


def _switched(comparison: Comparison, after: bool) -> tuple[Labels, Labels] | None:
    """Return the layers of the other state, None if there was another edit since."""
    with EditSession(comparison.folder, comparison.slide) as session:
        if _is_next(session, comparison.number, after):
            (session.redo if after else session.undo)()
        elif not _is_next(session, comparison.number, not after):
            return None
    return nuclei_layers(open_result(comparison.folder), comparison.transform)
