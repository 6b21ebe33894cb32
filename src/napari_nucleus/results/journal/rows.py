"""The nuclei table in memory, changed row by row."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from napari_nucleus.results.journal.retyped import Retyped

Rows = dict[str, np.ndarray]
"""Columns of some nuclei, `label` among them."""


class NucleusTable:
    """All nuclei, column by column, in ascending order of their labels.

    One array per column: to change a row of a million takes microseconds, to add or remove one some
    20 milliseconds.

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
        self.columns: Rows = {
            name: np.require(table[name].to_numpy(), requirements="W") for name in self.schema.names
        }

    def __len__(self) -> int:
        return len(self.labels)

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
        index = np.minimum(np.searchsorted(self.labels, labels), len(self) - 1)
        return self.labels[index] == labels if len(self) else np.zeros(len(labels), bool)

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
        index = np.searchsorted(self.labels, labels)
        return {name: self.columns[name][index] for name in columns or self.columns}

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
        after = {name: values for name, values in after.items() if name in self.columns}
        gone = np.setdiff1d(before["label"], after["label"])
        if self.known(gone).any():
            stays = ~np.isin(self.labels, gone)
            self.columns = {name: values[stays] for name, values in self.columns.items()}
        known = self.known(after["label"])
        index = np.searchsorted(self.labels, after["label"])
        for name, values in after.items():
            self.columns[name][index[known]] = values[known]
        if not known.all():
            new = ~known
            self.columns = {
                name: np.insert(values, index[new], _values(after, name, len(new))[new])
                for name, values in self.columns.items()
            }

    def retype(self, change: Retyped) -> None:
        """Give nuclei the types and probabilities that a classifier has found.

        Parameters
        ----------
        change : Retyped
            Nuclei that are gone are left out.
        """
        known = self.known(change.labels)
        index = np.searchsorted(self.labels, change.labels[known])
        self.columns["type"][index] = np.array(change.names, object)[change.after[known]]
        if "type_prob" in self.columns:
            self.columns["type_prob"][index] = change.prob_after[known]

    def rename_type(self, before: str, after: str) -> None:
        """Give the nuclei of a type its new name.

        Parameters
        ----------
        before, after : str
            The name, and the new one.
        """
        types = self.columns["type"]
        types[types == before] = after

    def arrow(self) -> pa.Table:
        """Return the nuclei as `nuclei.parquet` has them."""
        return pa.table(self.columns, schema=self.schema)

    def to_pandas(self) -> pd.DataFrame:
        """Return a copy of the nuclei, one row each."""
        types = self.schema.empty_table().to_pandas().dtypes
        return pd.DataFrame(self.columns).astype(types)


def rows_to_json(rows: Rows) -> dict[str, list[Any]]:
    """Return rows as JSON has them, without loss; a number that is missing becomes null.

    Parameters
    ----------
    rows : Rows
        Columns of strings, numbers or truth values.
    """
    return {
        name: [None if value != value else value for value in values.tolist()]
        for name, values in rows.items()
    }


def rows_from_json(rows: dict[str, list[Any]]) -> Rows:
    """Return what `rows_to_json` was given, whole numbers and fractions in 64 bits.

    Parameters
    ----------
    rows : dict of str to list
        Column name to values.
    """
    return {name: _column(values) for name, values in rows.items()}


def _stored_type(field: pa.Field) -> pa.DataType:
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _values(rows: Rows, name: str, count: int) -> np.ndarray:
    """Return a column; journals of earlier versions have no `region`."""
    return np.full(count, "", object) if name == "region" and name not in rows else rows[name]


def _column(values: list[Any]) -> np.ndarray:
    if any(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([np.nan if value is None else value for value in values])
