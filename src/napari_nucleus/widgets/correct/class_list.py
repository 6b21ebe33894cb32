"""The classes: their keys, colours, names and live counts."""

from collections.abc import Collection, Mapping
from functools import partial

from qtpy.QtCore import QPoint, QSize, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.widgets.shared.legend import alone, class_swatch, hiding

_KEY, _COLOR, _NAME, _COUNT = range(4)
_SIDE = 14
_ROW = 24
_SHOWN = 7  # rows, before it scrolls

_HELP = "Click: choose. Alt+click: show only this class, or all again. Right-click: hide or show."


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
    hidden_changed = Signal(list)
    """Names of the classes that are not to be drawn."""

    def __init__(self) -> None:
        super().__init__()
        self._types: dict[str, str] = {}
        self._hidden: set[str] = set()
        self._counts: list[QTableWidgetItem] = []
        self.table = QTableWidget(0, 4)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
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
        self.table.cellClicked.connect(self._on_click)
        self.table.customContextMenuRequested.connect(self._on_menu)
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

    def show_types(
        self,
        types: Mapping[str, str],
        counts: Mapping[str, int],
        chosen: int,
        hidden: Collection[str] = (),
    ) -> None:
        """Show classes; only what differs is drawn anew.

        Parameters
        ----------
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        counts : mapping of str to int
            Name to number of nuclei.
        chosen : int
            Place of the class that is chosen.
        hidden : collection of str
            Names of classes that are not drawn.
        """
        before = list(self._types.items()), self._hidden
        self._types, self._hidden = dict(types), {*hidden} & {*types}
        if (list(types.items()), self._hidden) != before:
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
            shown = name not in self._hidden
            key, picture = QTableWidgetItem(str(row + 1) if row < 9 else ""), QTableWidgetItem()
            picture.setData(Qt.ItemDataRole.DecorationRole, class_swatch(color, shown, _SIDE))
            title = QTableWidgetItem(name.replace("_", " "))
            font = title.font()
            font.setStrikeOut(not shown)
            count = self._counts[row]
            for item in (title, count):
                item.setFont(font)
            count.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in ((_KEY, key), (_COLOR, picture), (_NAME, title), (_COUNT, count)):
                item.setToolTip(f"{name}. {_HELP}")
                self.table.setItem(row, column, item)
        frame = 2 * self.table.frameWidth()
        self.table.setFixedHeight(_ROW * max(min(len(self._types), _SHOWN), 2) + frame)

    @property
    def _chosen(self) -> str:
        return list(self._types)[self.table.currentRow()]

    def _on_click(self, row: int, _: int) -> None:
        if QApplication.keyboardModifiers() & Qt.KeyboardModifier.AltModifier:
            self.hide_types(alone([*self._types][row], self._types, self._hidden))
        else:
            self.chosen.emit(row)

    def _on_menu(self, position: QPoint) -> None:
        row = self.table.rowAt(position.y())
        viewport = self.table.viewport()
        if row < 0 or viewport is None:
            return
        menu = QMenu(self)
        for text, hidden in hiding([*self._types][row], self._types, self._hidden).items():
            menu.addAction(text, partial(self.hide_types, hidden))
        menu.exec(viewport.mapToGlobal(position))

    def hide_types(self, hidden: Collection[str]) -> None:
        """Ask for some classes not to be drawn, in place of those before."""
        self.hidden_changed.emit([name for name in self._types if name in hidden])

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
