"""The nuclei table in memory, changed row by row."""

import base64
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from napari_nucleus.results.journal.retyped import Retyped

Rows = dict[str, np.ndarray]
"""Columns of some nuclei, `label` among them."""

# Nuclei up to which the journal lists their values, for everyone to read.
_LISTED = 1000


class NucleusTable:
    """All nuclei, column by column, in ascending order of their labels.

    Thousands of edits of a million nuclei are followed in a second: the rows of nuclei that are
    gone stay until the columns are asked for, and new ones find room at the end.

    Parameters
    ----------
    table : pa.Table
        As `nuclei.parquet` has it, in any order; of all its columns or some, `label` among them.
    """

    def __init__(self, table: pa.Table) -> None:
        self.schema = pa.schema([(field.name, _stored_type(field)) for field in table.schema])
        labels = table["label"].to_numpy()
        if (np.diff(labels) < 0).any():
            table = table.take(np.argsort(labels, kind="stable"))
        self._hold(
            {
                name: np.require(table[name].to_numpy(), requirements="W")
                for name in self.schema.names
            }
        )

    def __len__(self) -> int:
        return int(np.count_nonzero(self._there))

    @property
    def columns(self) -> Rows:
        """All columns (N,) by name."""
        if not self._there[: self._end].all():
            self._hold({name: values[self._there] for name, values in self._rows.items()})
        return {name: values[: self._end] for name, values in self._rows.items()}

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,) of all nuclei, ascending."""
        return self.columns["label"]

    def known(self, labels: np.ndarray) -> np.ndarray:
        """Tell which labels belong to a nucleus.

        Parameters
        ----------
        labels : (N,) ndarray of int
            In any order.

        Returns
        -------
        (N,) ndarray of bool
            Whether there is such a nucleus.
        """
        index, found = self._find(labels)
        found[found] = self._there[index[found]]
        return found

    def rows(self, labels: np.ndarray, columns: tuple[str, ...] | None = None) -> Rows:
        """Return the rows of some nuclei, all columns or those named.

        Parameters
        ----------
        labels : (N,) ndarray of int
            The nuclei, in the order of the rows.
        columns : tuple of str or None
            Names of columns, None for all.

        Raises
        ------
        KeyError
            If there is no such nucleus.
        """
        if not (known := self.known(labels)).all():
            raise KeyError(f"no nuclei {labels[~known].tolist()}")
        index, _ = self._find(labels)
        return {name: self._rows[name][index] for name in columns or self._rows}

    def replace(self, before: Rows, after: Rows) -> None:
        """Replace rows by others.

        Parameters
        ----------
        before : Rows
            Nuclei of which those go that `after` does not name.
        after : Rows
            Nuclei that come, with all columns, or change, with the columns that do. Columns that
            the table does not have are left out.
        """
        index, found = self._find(before["label"][~np.isin(before["label"], after["label"])])
        self._there[index[found]] = False
        index, found = self._find(after["label"])
        for name, values in after.items():
            if name in self._rows:
                self._rows[name][index[found]] = values[found]
        self._there[index[found]] = True
        if not found.all():
            self._add({name: _values(after, name, len(found))[~found] for name in self._rows})

    def retype(self, change: Retyped) -> None:
        """Give nuclei the types and probabilities that a classifier has found.

        Parameters
        ----------
        change : Retyped
            Nuclei that are gone are left out.
        """
        known = self.known(change.labels)
        index, _ = self._find(change.labels[known])
        self._rows["type"][index] = np.array(change.names, object)[change.after[known]]
        if "type_prob" in self._rows:
            self._rows["type_prob"][index] = change.prob_after[known]

    def rename_type(self, before: str, after: str) -> None:
        """Give the nuclei of a type its new name.

        Parameters
        ----------
        before, after : str
            The name, and the new one.
        """
        types = self.columns["type"]
        types[types == before] = after

    def _hold(self, rows: Rows) -> None:
        """Take rows in ascending order of their labels for all that there are."""
        self._rows = rows
        self._end = len(rows["label"])  # what lies behind is room
        self._there = np.ones(self._end, bool)

    def _find(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where labels are in the rows, and whether they are or were there."""
        ordered = self._rows["label"][: self._end]
        if not len(ordered):
            return np.zeros(len(labels), int), np.zeros(len(labels), bool)
        # Of another type than the rows, it would have all of them converted.
        index = np.searchsorted(ordered, labels.astype(ordered.dtype))
        index = np.minimum(index, len(ordered) - 1)
        return index, ordered[index] == labels

    def _add(self, rows: Rows) -> None:
        """Add nuclei that never were there."""
        order = np.argsort(rows["label"], kind="stable")
        rows = {name: values[order] for name, values in rows.items()}
        start, self._end = self._end, self._end + len(order)
        ordered = self._rows["label"][:start]
        if start and rows["label"][0] < ordered[-1]:
            index = np.searchsorted(ordered, rows["label"])
            there = np.insert(self._there[:start], index, True)
            self._hold(
                {name: np.insert(self._rows[name][:start], index, rows[name]) for name in rows}
            )
            self._there = there
            return
        if self._end > len(self._there):
            room = self._end // 8 + len(order)
            self._there = np.pad(self._there, (0, room))
            self._rows = {
                name: np.concatenate([values, np.empty(room, values.dtype)])
                for name, values in self._rows.items()
            }
        for name, values in rows.items():
            self._rows[name][start : self._end] = values
        self._there[start : self._end] = True

    def arrow(self) -> pa.Table:
        """Return the nuclei as `nuclei.parquet` has them."""
        return pa.table(self.columns, schema=self.schema)

    def to_pandas(self) -> pd.DataFrame:
        """Return a copy of the nuclei, one row each."""
        types = self.schema.empty_table().to_pandas().dtypes
        return pd.DataFrame(self.columns).astype(types)


def distinct(labels: np.ndarray) -> np.ndarray:
    """Return labels in ascending order, each once.

    `numpy.unique` takes ten times as long for a million since it hashes them.

    Parameters
    ----------
    labels : (N,) ndarray of int
        Labels in any order.

    Returns
    -------
    (M,) ndarray of int64
        The labels.
    """
    ordered = np.sort(labels.astype(np.int64))
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def rows_to_json(rows: Rows) -> dict[str, Any]:
    """Return rows as JSON has them, without loss; a number that is missing becomes null.

    Columns of many nuclei are packed: a class for a million would be 80 MB of text, which is parsed
    whenever the result is opened.

    Parameters
    ----------
    rows : Rows
        Columns of strings, numbers or truth values.
    """
    return {
        name: _listed(values) if len(values) <= _LISTED else _packed(values)
        for name, values in rows.items()
    }


def rows_from_json(rows: dict[str, Any]) -> Rows:
    """Return what `rows_to_json` was given; numbers of a list in 64 bits.

    Parameters
    ----------
    rows : dict of str to Any
        Column name to values.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are damaged.
    """
    return {
        name: _unpacked(values) if isinstance(values, dict) else _column(values)
        for name, values in rows.items()
    }


def _listed(values: np.ndarray) -> list[Any]:
    return [None if value != value else value for value in values.tolist()]


def _packed(values: np.ndarray) -> dict[str, Any]:
    if values.dtype == object:
        codes, names = pd.factorize(values)
        return {"names": names.tolist(), **_packed(codes.astype(np.uint32))}
    dtype = values.dtype.newbyteorder("<")
    data = zlib.compress(values.astype(dtype).tobytes(), 1)
    return {"dtype": dtype.str, "data": base64.b64encode(data).decode("ascii")}


def _unpacked(stored: dict[str, Any]) -> np.ndarray:
    try:
        data = zlib.decompress(base64.b64decode(stored["data"], validate=True))
    except zlib.error as error:
        raise ValueError(f"invalid rows: {error}") from error
    values = np.frombuffer(data, stored["dtype"])
    if "names" not in stored:
        return values
    if values.max(initial=0) >= len(stored["names"]):
        raise ValueError("names of types are missing")
    return np.array(stored["names"], object)[values]


def _stored_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _values(rows: Rows, name: str, count: int) -> np.ndarray:
    """Return a column; journals of earlier versions have no `region`."""
    return np.full(count, "", object) if name == "region" and name not in rows else rows[name]


def _column(values: list[Any]) -> np.ndarray:
    if values and isinstance(values[0], str):
        return np.array(values, object)
    column = np.array(values)
    return column.astype(float) if column.dtype == object else column  # None becomes NaN
