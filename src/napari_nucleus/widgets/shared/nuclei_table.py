"""Dock with the table of the nuclei of a result."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    Qt,
)
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.edits import operations
from napari_nucleus.errors import UserError
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.shared.choices import ResultChoice, shrinkable
from napari_nucleus.widgets.shared.large_nuclei import table_of
from napari_nucleus.widgets.shared.layers import (
    journal_size,
    layers_of,
    result_of,
    run_of,
    select_nuclei,
)
from napari_nucleus.widgets.shared.result_edit import edit_result
from napari_nucleus.widgets.shared.save_csv import CsvButton
from napari_nucleus.widgets.shared.shown_results import shown_results
from napari_nucleus.widgets.shared.table_model import Columns, NucleiModel, TypeDelegate
from napari_nucleus.widgets.shared.viewport import Viewport

_TITLE = "Table of nuclei"
_HEIGHT = 230  # of the dock, in pixels
_PADDING = 36  # of a column, for the arrow of sorting or the colour of a type
_LETTERS = 7  # of a list of choices, at the least
_NARROWEST = 130  # px of a field; a list of results would have room for its placeholder
_ALL = "All classes"
_SET_CLASS = "Set class…"

# Runs of adjacent rows up to which a selection is shown after sorting: Qt takes each by itself.
_MOST_RUNS = 2000


class NucleiTable(QWidget):
    """The nuclei of a result, sorted and filtered, in step with the layers by their labels.

    Parameters
    ----------
    viewer : Viewer
        The viewer with the layers.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._selected = np.zeros(0, np.int64)
        self._run = ("", "")  # that is shown
        self._edits = 0  # and the size of its journal
        self._selecting = False
        self.model = NucleiModel()
        self.results = ResultChoice(viewer.layers)
        self.results.setToolTip("Result whose nuclei are listed")
        self.type = QComboBox()
        self.type.setToolTip("Show only the nuclei of a class")
        self.condition = QLineEdit()
        self.condition.setPlaceholderText("Filter, e.g. area_um2 > 50")
        self.condition.setToolTip(
            "Show only nuclei that meet a condition on the columns, such as\n"
            "area_um2 > 50 and solidity < 0.9\n"
            "Press Enter to apply it."
        )
        self.condition.setClearButtonEnabled(True)
        self.count = QLabel()
        self.set_class = QComboBox()
        self.set_class.setToolTip(
            "Give the selected nuclei another class; this can be undone in Correct nuclei"
        )
        self.csv_button = CsvButton(lambda: self._folder)
        self.view = QTableView()
        self._lay_out()
        self._connect()
        self._refresh()

    def choose(self, nuclei: Labels) -> None:
        """List the nuclei of the result that a `nuclei` layer shows."""
        self.results.update_choices(self._viewer.layers)
        self.results.choose(nuclei)

    @property
    def selected(self) -> np.ndarray:
        """Labels (N,) of the selected nuclei."""
        return self._selected

    def select(self, labels: np.ndarray) -> None:
        """Select nuclei in table and layers, and scroll to the first.

        Parameters
        ----------
        labels : ndarray of int
            Their labels.
        """
        self._selected = np.asarray(labels, np.int64)
        self._select_rows()
        self._mark()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.results.update_choices(self._viewer.layers)

    def changeEvent(self, a0: QEvent | None) -> None:
        """Let go of the viewer when napari takes the dock out of the window."""
        super().changeEvent(a0)
        if a0 is None or a0.type() != QEvent.Type.ParentChange or self.parent() is not None:
            return
        if self._on_mouse in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
            self._selected = self._selected[:0]
            self._mark()

    @property
    def _folder(self) -> Path | None:
        nuclei = self.results.layer
        return None if nuclei is None else result_of(nuclei)

    def _refresh(self) -> None:
        """Show the nuclei as they are now; those that were selected stay so."""
        nuclei = self.results.layer
        self.setEnabled(nuclei is not None)
        columns: Columns = {"label": np.zeros(0, np.int64), "type": np.zeros(0, object)}
        types: dict[str, str] = {}
        run = ("", "")
        if nuclei is not None:
            run = run_of(nuclei)
            self._edits = journal_size(Path(run[0]))
            try:
                types, columns = nuclei.metadata["types"], table_of(nuclei).columns
            except UserError as error:
                show_error(str(error))
        if run != self._run:
            self._run = run
            self._selected = self._selected[:0]
        self._selected = self._selected[np.isin(self._selected, columns["label"])]
        self._offer_types(types)
        self.model.show_nuclei(columns, types)
        self._widen(types)
        self._mark()

    def _offer_types(self, types: dict[str, str]) -> None:
        for box, first in ((self.type, _ALL), (self.set_class, _SET_CLASS)):
            if [box.itemText(place) for place in range(box.count())] == [first, *types]:
                continue
            chosen = box.currentText()
            blocked = box.blockSignals(True)
            box.clear()
            box.addItems([first, *types])
            box.setCurrentIndex(max(box.findText(chosen), 0))
            box.blockSignals(blocked)

    def _widen(self, types: dict[str, str]) -> None:
        """Make columns wide enough for their names, and for those of the types."""
        measure = self.view.fontMetrics().horizontalAdvance
        for place in range(self.model.columnCount()):
            name = self.model.headerData(place, Qt.Orientation.Horizontal)
            texts = [name, "0,000.00", *(types if name == "type" else ())]
            width = max(map(measure, texts)) + _PADDING
            if self.view.columnWidth(place) < width:
                self.view.setColumnWidth(place, width)

    def _show_count(self) -> None:
        shown, total = self.model.rowCount(), self.model.total
        self.count.setText(
            f"{shown:,} of {total:,} nuclei" if shown < total else f"{total:,} nuclei"
        )

    def _select_rows(self) -> None:
        """Select the rows of the selected nuclei, and scroll to the first."""
        rows = self.model.rows_of(self._selected) if len(self._selected) else np.zeros(0, int)
        ends = np.flatnonzero(np.diff(rows) != 1)
        starts = np.r_[0, ends + 1][: len(rows)]
        selection = QItemSelection()
        last = self.model.columnCount() - 1
        if len(starts) <= _MOST_RUNS:
            for first, end in zip(rows[starts], np.r_[rows[ends], rows[-1:]], strict=True):
                corners = self.model.index(int(first), 0), self.model.index(int(end), last)
                selection.select(*corners)
        model = self.view.selectionModel()
        assert model is not None
        self._selecting = True
        if len(rows):
            index = self.model.index(int(rows[0]), 0)
            model.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.view.scrollTo(index)
        model.select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        self._selecting = False

    def _on_selection(self, *_: QItemSelection) -> None:
        """Show the nuclei of the rows that the user has selected."""
        if self._selecting:
            return
        model = self.view.selectionModel()
        assert model is not None
        chosen = np.zeros(self.model.rowCount(), bool)
        ranges: Any = model.selection()  # a sequence, which its stubs do not say
        for part in ranges:
            chosen[part.top() : part.bottom() + 1] = True
        self._selected = np.sort(self.model.labels[chosen])
        self._mark()
        self._look()

    def _mark(self) -> None:
        if (folder := self._folder) is not None:
            select_nuclei(folder, self._selected, self._viewer.layers)

    def _look(self) -> None:
        """Bring the selected nuclei into view."""
        nuclei, folder = self.results.layer, self._folder
        if nuclei is None or folder is None or not len(self._selected):
            return
        boxes = self.model.boxes(self._selected)
        editor = shown_results.editors.get(folder)
        if len(boxes) == 1 and editor is not None:
            editor.show(int(self._selected[0]))
            return
        viewport = Viewport(self._viewer, nuclei)
        box = Box(*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())
        if len(boxes) == 1:
            viewport.look_at(box)
        else:
            viewport.take_in(box)

    def _on_mouse(self, _: Viewer, event: Any) -> Iterator[None]:
        """Select the nucleus that is clicked in the view."""
        if event.button != 1:
            return
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        if not dragged and self._folder is not None and self.isVisible():
            self.select(self._labels_at(self._folder, event.position))

    def _labels_at(self, folder: Path, position: Any) -> np.ndarray:
        """Return the label of the nucleus at a point of the world, none on the background."""
        found = [
            layer.get_value(position, world=True)
            for layer in layers_of(folder, self._viewer.layers)
            if layer.visible and layer.metadata["shows"].startswith("nuclei")
        ]
        labels = [value[-1] if isinstance(value, tuple) else value for value in found]
        return np.array([label for label in labels if label][:1], np.int64)

    def _filter(self) -> None:
        type_name = self.type.currentText() if self.type.currentIndex() > 0 else ""
        try:
            self.model.filter(type_name, self.condition.text().strip())
        except UserError as error:
            show_error(str(error))

    def _on_reset(self) -> None:
        """Show again what is selected, after the rows were sorted, filtered or edited."""
        self._show_count()
        self._select_rows()

    def _on_type_edited(self, row: int, type_name: str) -> None:
        """Give the nucleus of a row another class, and all that are selected with it."""
        label = self.model.labels[row]
        self._reclassify(
            self._selected if label in self._selected else np.array([label]), type_name
        )

    def _on_set_class(self, place: int) -> None:
        type_name = self.set_class.itemText(place)
        self.set_class.setCurrentIndex(0)
        if place > 0 and len(self._selected):
            self._reclassify(self._selected, type_name)

    def _reclassify(self, labels: np.ndarray, type_name: str) -> None:
        nuclei = self.results.layer
        if nuclei is None:
            return
        self.set_class.setEnabled(False)
        edit_result(
            self._viewer.layers,
            nuclei,
            operations.reclassify,
            labels.tolist(),
            type_name,
            done=lambda: self.set_class.setEnabled(True),
        )

    def _on_result_changed(self, folder: Path) -> None:
        nuclei = self.results.layer
        if nuclei is None or folder != self._folder:
            return
        if run_of(nuclei) != self._run or journal_size(folder) != self._edits:
            self._refresh()  # else another class is hidden, which is nothing to sort a million for

    def _connect(self) -> None:
        self.results.currentIndexChanged.connect(self._refresh)
        self.type.currentIndexChanged.connect(self._filter)
        self.condition.returnPressed.connect(self._filter)
        self.condition.textChanged.connect(lambda text: None if text else self._filter())
        self.set_class.activated.connect(self._on_set_class)
        self.model.type_edited.connect(self._on_type_edited)
        self.model.modelReset.connect(self._on_reset)
        model = self.view.selectionModel()
        assert model is not None
        model.selectionChanged.connect(self._on_selection)
        shown_results.changed.connect(self._on_result_changed)
        self._viewer.mouse_drag_callbacks.append(self._on_mouse)

    def _lay_out(self) -> None:
        self.view.setModel(self.model)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setItemDelegateForColumn(1, TypeDelegate(self.model, self.view))
        self.view.setSortingEnabled(True)
        self.view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.view.setWordWrap(False)
        columns, rows = self.view.horizontalHeader(), self.view.verticalHeader()
        assert columns is not None
        assert rows is not None
        # To draw the header, Qt would ask all rows of a selection whether they are selected.
        columns.setSelectionModel(QItemSelectionModel(self.model, columns))
        rows.hide()
        rows.setDefaultSectionSize(22)
        for choice in (self.results, self.type, self.set_class):
            shrinkable(choice).setMinimumContentsLength(_LETTERS)
        for field in (self.results, self.condition):
            field.setMinimumWidth(_NARROWEST)
        bar = QHBoxLayout()
        bar.addWidget(self.results)
        bar.addWidget(self.type)
        bar.addWidget(self.condition, 1)
        bar.addWidget(self.count)
        bar.addWidget(self.set_class)
        bar.addWidget(self.csv_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addLayout(bar)
        column.addWidget(self.view)


def open_table(viewer: Viewer, nuclei: Labels) -> NucleiTable:
    """Open the table of a result below the canvas, or show it in the one that is open.

    Parameters
    ----------
    viewer : Viewer
        The viewer.
    nuclei : Labels
        The `nuclei` layer of the result.
    """
    table = viewer.window.dock_widgets.get(_TITLE)
    table = getattr(table, "__wrapped__", table)  # napari gives plugins a proxy
    if not isinstance(table, NucleiTable):
        table = NucleiTable(viewer)
        viewer.window.add_dock_widget(table, name=_TITLE, area="bottom")
        dock, window = _dock_of(table), table.window()
        # napari would open it at its smallest height.
        if dock is not None and isinstance(window, QMainWindow):
            # Below the layer list, a small window would leave it no more than two rows.
            left = Qt.DockWidgetArea.LeftDockWidgetArea
            window.setCorner(Qt.Corner.BottomLeftCorner, left)
            window.resizeDocks([dock], [_HEIGHT], Qt.Orientation.Vertical)
    table.choose(nuclei)
    if (dock := _dock_of(table)) is not None:
        dock.show()
        dock.raise_()
    return table


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent
