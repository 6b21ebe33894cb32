"""Features of the nuclei of a result, on which classes are taught: `features.zarr`.

A Zarr group of three arrays, whose rows are nuclei, at first in the order of the table:

- `features`: (N, F) float16, as `NucleusModel.features` returns them;
- `label`: (N,) int32;
- `shape`: (N, 3) float64, centroid and area as the table had them. A nucleus that has others now
  was edited since, and its features are to be made again.

Its attributes name the network and its SHA-256.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.files import write_errors
from napari_nucleus.results.journal.rows import Rows

FORMAT = 1
"""Version of the format and of the features; raised when those of earlier versions differ."""

_CHUNK = 8192
"""Nuclei per chunk."""


class FeatureStore:
    """The features of a result.

    Attributes
    ----------
    network : dict of str to str
        ``name`` and ``sha256`` of the network that made them.
    width : int
        F, features of a nucleus.

    Parameters
    ----------
    path : Path
        The folder ``features.zarr``.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        If it does not exist, is damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        group = zarr.open_group(path, mode="r+")
        about: Mapping[str, Any] = group.attrs.asdict()
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}")
        self.network: dict[str, str] = {key: about["network"][key] for key in ("name", "sha256")}
        self._arrays = {name: _array(group, name) for name in ("features", "label", "shape")}
        self.width = self._arrays["features"].shape[1]
        count = min(array.shape[0] for array in self._arrays.values())  # of a killed process
        self._labels = np.asarray(self._arrays["label"][:count], np.int64)
        self._shapes = np.asarray(self._arrays["shape"][:count], np.float64)

    @classmethod
    def open(cls, result: Path) -> Self | None:
        """Return the features of a result folder, None if there are none that can be used.

        Parameters
        ----------
        result : Path
            The result folder.
        """
        try:
            return cls(result / "features.zarr")
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def create(cls, result: Path, network: Mapping[str, str], width: int) -> Self:
        """Return an empty store in place of any that there is.

        Parameters
        ----------
        result : Path
            The result folder.
        network : mapping of str to str
            ``name`` and ``sha256`` of the network.
        width : int
            Features of a nucleus.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        path = result / "features.zarr"
        with write_errors(path):
            group = zarr.create_group(path, zarr_format=3, overwrite=True)
            for name, shape, dtype in (
                ("features", (0, width), "float16"),
                ("label", (0,), "int32"),
                ("shape", (0, 3), "float64"),
            ):
                chunks = (_CHUNK, *(max(size, 1) for size in shape[1:]))
                group.create_array(name, shape=shape, dtype=dtype, chunks=chunks)
            about = {key: network[key] for key in ("name", "sha256")}
            group.attrs.update({"format": FORMAT, "network": about})
        return cls(path)

    def __len__(self) -> int:
        return len(self._labels)

    def find(self, nuclei: pd.DataFrame | Rows) -> NDArray[np.int64]:
        """Return the row of each nucleus.

        Parameters
        ----------
        nuclei : DataFrame or Rows
            With `label`, `centroid_x`, `centroid_y` and `area_um2` or `area_px2`.

        Returns
        -------
        (N,) ndarray of int64
            -1 for nuclei that have no features, or had another shape when these were made.
        """
        labels, shapes = _identity(nuclei)
        if not len(self):
            return np.full(len(labels), -1)
        order = np.argsort(self._labels, kind="stable")
        place = np.searchsorted(self._labels, labels, sorter=order).clip(max=len(self) - 1)
        rows = order[place]
        same = (self._labels[rows] == labels) & (self._shapes[rows] == shapes).all(1)
        return np.where(same, rows, -1)

    def read(self, rows: NDArray[np.integer]) -> NDArray[np.float16]:
        """Return features.

        Parameters
        ----------
        rows : (N,) ndarray of int
            As `find` returns them, none of them -1. Rows that ascend are read fastest.

        Returns
        -------
        (N, F) ndarray of float16
            One row each.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        out = np.empty((len(rows), self.width), np.float16)
        chunk = rows // _CHUNK
        cuts = np.flatnonzero(np.diff(chunk, prepend=-1, append=-1))
        try:
            for start, stop in pairwise(cuts.tolist()):
                first = int(chunk[start]) * _CHUNK
                block = np.asarray(self._arrays["features"][first : first + _CHUNK])
                out[start:stop] = block[rows[start:stop] - first]
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self._path} is damaged ({error}): delete this folder to have it made again."
            ) from error
        return out

    def put(self, nuclei: pd.DataFrame | Rows, features: NDArray[np.floating]) -> None:
        """Keep the features of nuclei, in place of those that they had.

        Parameters
        ----------
        nuclei : DataFrame or Rows
            As `find` takes them.
        features : (N, F) ndarray of float
            One row each.

        Raises
        ------
        UserError
            If the disk is full.
        """
        labels, shapes = _identity(nuclei)
        known = np.isin(labels, self._labels)
        order = np.argsort(self._labels, kind="stable")
        rows = np.empty(len(labels), np.int64)
        rows[known] = order[np.searchsorted(self._labels, labels[known], sorter=order)]
        end = len(self) + int((~known).sum())
        rows[~known] = np.arange(len(self), end)
        self._labels = np.append(self._labels, labels[~known])
        self._shapes = np.concatenate([self._shapes, np.full((end - len(self._shapes), 3), np.nan)])
        values = {"features": features, "label": labels, "shape": shapes}
        with write_errors(self._path):
            if known.any():  # until they are whole, they are nobody's
                self._arrays["shape"].set_orthogonal_selection((rows[known], slice(None)), np.nan)
            for name, array in self._arrays.items():
                array.resize((end, *array.shape[1:]))
                where = rows if array.ndim == 1 else (rows, slice(None))
                array.set_orthogonal_selection(where, values[name].astype(array.dtype))
        self._shapes[rows] = shapes


class FeatureWriter:
    """Writes the features of a result that is being made, with memory that does not grow.

    Parameters
    ----------
    result : Path
        The result folder, or the one that becomes it.
    network : mapping of str to str
        As `FeatureStore.create` takes it.
    """

    def __init__(self, result: Path, network: Mapping[str, str]) -> None:
        self._result = result
        self._network = network
        self._store: FeatureStore | None = None
        self._waiting: list[tuple[pd.DataFrame, NDArray[np.float16]]] = []

    def append(self, table: pd.DataFrame, features: NDArray[np.floating]) -> None:
        """Add nuclei.

        Parameters
        ----------
        table : DataFrame
            As `ResultWriter.append` takes them, or some of their columns.
        features : (N, F) ndarray of float
            One row each.

        Raises
        ------
        UserError
            If the disk is full.
        """
        identity = [name for name in _COLUMNS if name in table]
        self._waiting.append((table[identity], features.astype(np.float16)))
        if sum(len(features) for _, features in self._waiting) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting, at the end as well.

        Raises
        ------
        UserError
            If the disk is full.
        """
        if not self._waiting:
            return
        tables, features = zip(*self._waiting, strict=True)
        self._waiting.clear()
        if self._store is None:
            width = features[0].shape[1]
            self._store = FeatureStore.create(self._result, self._network, width)
        self._store.put(pd.concat(tables, ignore_index=True), np.concatenate(features))


_COLUMNS = ("label", "centroid_x", "centroid_y", "area_um2", "area_px2")


def _identity(nuclei: pd.DataFrame | Rows) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    area = "area_um2" if "area_um2" in nuclei else "area_px2"
    names = ("centroid_x", "centroid_y", area)
    shapes = np.stack([np.asarray(nuclei[name], np.float64) for name in names], axis=1)
    return np.asarray(nuclei["label"], np.int64), shapes


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is not an array")
    return array
