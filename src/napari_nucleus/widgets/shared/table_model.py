"""The table of nuclei as Qt shows it: sorted and filtered in NumPy, for millions of rows."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from napari_nucleus.errors import UserError

Columns = Mapping[str, np.ndarray]
"""One array (N,) per column, `label` and `type` among them."""

_Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


class NucleiModel(QAbstractTableModel):
    """Nuclei, one row each, in the order of a column, those alone that meet a condition."""

    type_edited = Signal(int, str)
    """Row, and the type that the user gave it."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: Columns = {"label": np.zeros(0, np.int64), "type": np.zeros(0, object)}
        self._names = list(self._columns)
        self._types: dict[str, str] = {}
        self._order = np.zeros(0, np.int64)  # places in the columns of all nuclei, sorted
        self._rows = self._order  # of those that are shown
        self._sorted: tuple[str, bool] = "label", False
        self._type = ""
        self._condition = ""

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,) in the order of the rows."""
        return self._columns["label"][self._rows]

    @property
    def total(self) -> int:
        """Number of nuclei, whether or not they meet the condition."""
        return len(self._columns["label"])

    @property
    def types(self) -> dict[str, str]:
        """Name to colour ``"#rrggbb"`` of every type."""
        return self._types

    def show_nuclei(self, columns: Columns, types: Mapping[str, str]) -> None:
        """Show nuclei, in the order and under the condition of those before.

        Parameters
        ----------
        columns : mapping of str to ndarray
            Their columns; they are not copied.
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        """
        self.beginResetModel()
        self._columns = columns
        self._names = list(columns)
        self._types = dict(types)
        self._sort()
        if self._type not in types:
            self._type = ""
        try:
            self._rows = self._find(self._type, self._condition)
        except UserError:  # the condition names a column that these nuclei do not have
            self._condition = ""
            self._rows = self._find(self._type, "")
        self.endResetModel()

    def filter(self, type_name: str, condition: str) -> None:
        """Show only some nuclei.

        Parameters
        ----------
        type_name : str
            Their type, empty for all.
        condition : str
            As `DataFrame.query` takes it, such as ``"area_um2 > 50"``; empty for none.

        Raises
        ------
        UserError
            If it is no condition; the rows stay as they were.
        """
        rows = self._find(type_name, condition)
        self.beginResetModel()
        self._type, self._condition, self._rows = type_name, condition, rows
        self.endResetModel()

    def rows_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows (N,) of nuclei, ascending; those that are not shown are left out.

        Parameters
        ----------
        labels : ndarray of int
            The nuclei.
        """
        if len(labels) == 1:
            return np.flatnonzero(self.labels == labels[0])
        return np.flatnonzero(np.isin(self.labels, labels))

    def boxes(self, labels: np.ndarray) -> np.ndarray:
        """Return the edges (N, 4) x0, y0, x1, y1 of nuclei, in level-0 pixels.

        Parameters
        ----------
        labels : ndarray of int
            The nuclei.
        """
        there = np.flatnonzero(np.isin(self._columns["label"], labels))
        return np.stack([self._columns[name][there] for name in ("x0", "y0", "x1", "y1")], 1)

    # What Qt asks for

    def rowCount(self, parent: _Index = _NOWHERE) -> int:
        """Return the number of nuclei that meet the condition."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _NOWHERE) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._names)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the name of a column."""
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        return self._names[section]

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        name = self._names[index.column()]
        value = self._columns[name][self._rows[index.row()]]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return cell_text(value)
            case Qt.ItemDataRole.EditRole:
                return value.item() if isinstance(value, np.generic) else value
            case Qt.ItemDataRole.DecorationRole if name == "type":
                return QColor(self._types.get(value, "#ffffff"))
            case Qt.ItemDataRole.TextAlignmentRole if isinstance(value, np.number):
                return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Let the type be edited."""
        flags = super().flags(index)
        if index.isValid() and self._names[index.column()] == "type":
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Ask for another type; it is shown when the result has it."""
        if role == Qt.ItemDataRole.EditRole and value in self._types:
            self.type_edited.emit(index.row(), value)
        return False

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; where the values are missing, last."""
        self.beginResetModel()
        if 0 <= column < len(self._names):
            self._sorted = self._names[column], order == Qt.SortOrder.DescendingOrder
            self._sort()
        self._rows = self._find(self._type, self._condition)
        self.endResetModel()

    def _find(self, type_name: str, condition: str) -> np.ndarray:
        if not type_name and not condition:
            return self._order
        meets = np.ones(self.total, bool)
        if type_name:
            meets &= self._columns["type"] == type_name
        if condition:
            meets &= self._meeting(condition)
        return self._order[meets[self._order]]

    def _sort(self) -> None:
        name, descending = self._sorted
        values = self._columns[name if name in self._columns else "label"]
        self._order = _order(values, descending)

    def _meeting(self, condition: str) -> np.ndarray:
        named = set(re.findall(r"\w+", condition)) & set(self._names)
        table = pd.DataFrame({name: self._columns[name] for name in ("label", *named)}, copy=False)
        try:
            meets = table.eval(condition, engine="python", local_dict={}, global_dict={})
        except Exception as error:  # of a dozen kinds
            text = error.msg if isinstance(error, SyntaxError) else str(error)
            reason = text.splitlines()[0] if text else type(error).__name__
            raise UserError(f"{condition!r} is not a condition ({reason}): {_EXAMPLE}") from error
        if not isinstance(meets, pd.Series) or meets.dtype != bool:
            raise UserError(f"{condition!r} is not a condition: {_EXAMPLE}")
        return meets.to_numpy()


class TypeDelegate(QStyledItemDelegate):
    """A list of the classes in place of the text of a cell."""

    def __init__(self, model: NucleiModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._model = model

    def createEditor(
        self, parent: QWidget | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget | None:
        """Return the list."""
        box = QComboBox(parent)
        box.addItems(list(self._model.types))
        box.activated.connect(lambda _: self.commitData.emit(box))
        box.activated.connect(lambda _: self.closeEditor.emit(box))
        return box

    def setEditorData(self, editor: QWidget | None, index: QModelIndex) -> None:
        """Show the class of the nucleus."""
        assert isinstance(editor, QComboBox)
        editor.setCurrentText(str(index.data(Qt.ItemDataRole.EditRole)))

    def setModelData(
        self, editor: QWidget | None, model: QAbstractItemModel | None, index: QModelIndex
    ) -> None:
        """Take the class that was chosen, if it is another."""
        assert isinstance(editor, QComboBox)
        assert model is not None
        if editor.currentText() != index.data(Qt.ItemDataRole.EditRole):
            model.setData(index, editor.currentText())


_EXAMPLE = "write one such as area_um2 > 50 and solidity < 0.9."


def _order(values: np.ndarray, descending: bool) -> np.ndarray:
    """Return the places of values in their order, missing ones last; equal ones keep theirs."""
    if values.dtype == object:
        keys = pd.factorize(values, sort=True)[0]
        keys = np.where(keys < 0, len(keys), -keys if descending else keys)  # -1 is a missing one
        return np.argsort(keys, kind="stable")
    if values.dtype == bool:
        values = values.view(np.int8)
    return np.argsort(-values if descending else values, kind="stable")


def cell_text(value: Any) -> str:
    """Return a value of the table as it is shown; empty where it is missing or False."""
    match value:
        case bool() | np.bool_():
            return "yes" if value else ""
        case float() | np.floating():
            return "" if np.isnan(value) else f"{value:,.5g}"
        case str():
            return value
    return str(value)
