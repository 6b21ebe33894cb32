"""The classes: their keys, colours, names and live counts."""

from collections.abc import Mapping

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

_KEY, _COLOR, _NAME, _COUNT = range(4)
_SIDE = 14
_ROW = 24
_SHOWN = 7  # rows, before it scrolls


class ClassList(QWidget):
    """One row per class; the selected one is chosen."""

    chosen = Signal(int)
    """Place of the class that was clicked."""
    added = Signal(str)
    """Name of a class to add."""
    renamed = Signal(str, str)
    """Name of a class, and the new one."""
    recolored = Signal(str, str)
    """Name of a class, and its new colour ``"#rrggbb"``."""
    removed = Signal(str)
    """Name of a class to remove."""

    def __init__(self) -> None:
        super().__init__()
        self._types: dict[str, str] = {}
        self._counts: list[QTableWidgetItem] = []
        self.table = QTableWidget(0, 4)
        self.table.setToolTip("Click a class to choose it")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        # Keys go to the canvas.
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setIconSize(QSize(_SIDE, _SIDE))
        self.table.setShowGrid(False)
        columns, rows = self.table.horizontalHeader(), self.table.verticalHeader()
        assert columns is not None
        assert rows is not None
        columns.hide()
        columns.setMinimumSectionSize(1)
        columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        columns.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        rows.hide()
        rows.setDefaultSectionSize(_ROW)
        self.table.cellClicked.connect(lambda row, _: self.chosen.emit(row))
        self.table.cellDoubleClicked.connect(self._on_double_click)
        buttons = QHBoxLayout()
        for text, tip, slot in (
            ("Add…", "Add a class", self._add),
            ("Rename…", "Rename the selected class", self._rename),
            ("Colour…", "Change the colour of the selected class", self._recolor),
            ("Remove", "Remove the selected class, which must have no nuclei", self._remove),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            button.clicked.connect(slot)
            buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.table)
        column.addLayout(buttons)

    def show_types(self, types: Mapping[str, str], counts: Mapping[str, int], chosen: int) -> None:
        """Show classes; only what differs is drawn anew.

        Parameters
        ----------
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        counts : mapping of str to int
            Name to number of nuclei.
        chosen : int
            Place of the class that is chosen.
        """
        if list(types.items()) != list(self._types.items()):
            self._types = dict(types)
            self._fill()
        for item, name in zip(self._counts, types, strict=True):
            if item.text() != (text := f"{counts[name]:,}"):
                item.setText(text)
        if self.table.currentRow() != chosen:
            self.table.selectRow(chosen)

    def _fill(self) -> None:
        self.table.setRowCount(len(self._types))
        self._counts = [QTableWidgetItem() for _ in self._types]
        for row, (name, color) in enumerate(self._types.items()):
            swatch = QPixmap(_SIDE, _SIDE)
            swatch.fill(QColor(color))
            key, picture = QTableWidgetItem(str(row + 1) if row < 9 else ""), QTableWidgetItem()
            picture.setData(Qt.ItemDataRole.DecorationRole, swatch)
            title = QTableWidgetItem(name.replace("_", " "))
            title.setToolTip(name)
            count = self._counts[row]
            count.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in ((_KEY, key), (_COLOR, picture), (_NAME, title), (_COUNT, count)):
                self.table.setItem(row, column, item)
        frame = 2 * self.table.frameWidth()
        self.table.setFixedHeight(_ROW * max(min(len(self._types), _SHOWN), 2) + frame)

    @property
    def _chosen(self) -> str:
        return list(self._types)[self.table.currentRow()]

    def _on_double_click(self, _: int, column: int) -> None:
        if column == _COLOR:
            self._recolor()
        else:
            self._rename()

    def _add(self) -> None:
        name, given = QInputDialog.getText(self, "Add a class", "Name")
        if given:
            self.added.emit(name)

    def _rename(self) -> None:
        old = self._chosen
        name, given = QInputDialog.getText(self, "Rename a class", "Name", text=old)
        if given and name != old:
            self.renamed.emit(old, name)

    def _recolor(self) -> None:
        name = self._chosen
        color = QColorDialog.getColor(QColor(self._types[name]), self, f"Colour of {name}")
        if color.isValid():
            self.recolored.emit(name, color.name())

    def _remove(self) -> None:
        self.removed.emit(self._chosen)
