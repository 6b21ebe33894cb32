"""The nuclei of a slide as a classifier sees them: features, measurements and neighbours."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from napari_nucleus.errors import UserError
from napari_nucleus.results import Result
from napari_nucleus.results.features import FeatureStore

LENGTHS = ("area_um2", "perimeter_um", "major_axis_um", "minor_axis_um")
"""Measurements that count by their logarithm."""

SHAPES = ("eccentricity", "solidity", "circularity")

STAINS = ("hematoxylin_mean", "hematoxylin_std", "eosin_mean", "eosin_std")
"""Measurements that count by their difference from the median of the slide, which stains differ."""

COLUMNS = (*LENGTHS, *SHAPES, *STAINS)

NEIGHBOURS = 12
"""Nuclei over which means are taken, the nucleus itself included."""

REACH = 8.0
"""Standard deviation in µm of the Gaussian weights of these means."""

STEPS = 4
"""How often the mean of the means is taken, for what lies further around."""

_PIECE = 65_536
"""Nuclei that are brought to full precision at once."""

_SAMPLE = 2000
"""Nuclei by which mean and spread of a slide are known well enough."""


@dataclass(frozen=True)
class SlideNuclei:
    """Nuclei, ordered by their labels.

    A nucleus is described by 3 F numbers: its own, their mean over its neighbours (`near`), and
    that mean taken `STEPS` times (`far`), as in a simple graph convolution. Only its own are in
    memory: what is linear in the others is computed without them.

    Attributes
    ----------
    name : str
        Of the slide.
    network : dict of str to str
        ``name`` and ``sha256`` of the network.
    labels : (N,) ndarray of int64
        Ascending.
    centres : (N, 2) ndarray of float64
        x and y in µm.
    own : (N, F) ndarray of float16
        The network's features, then `COLUMNS`.
    mean_over_neighbours : (N, N) csr_array of float32
        Weights of the means; every row sums to 1.

    References
    ----------
    Wu et al. (2019), Simplifying graph convolutional networks.
    """

    name: str
    network: dict[str, str]
    labels: NDArray[np.int64]
    centres: NDArray[np.float64]
    own: NDArray[np.float16]
    mean_over_neighbours: csr_array

    @classmethod
    def read(cls, result: Result) -> Self:
        """Read the nuclei of a result, all of which have features.

        Parameters
        ----------
        result : Result
            The result.

        Returns
        -------
        SlideNuclei
            In their corrected state.

        Raises
        ------
        UserError
            If there are no nuclei, or some have no features; if the result has no µm/px, or lacks
            measurements.
        """
        if result.mpp is None:
            raise UserError(
                f"{result.path} has no µm/px: segment the image again with its pixel size."
            )
        table = result.nuclei(("label", "type", "centroid_x", "centroid_y", *COLUMNS))
        store = FeatureStore.open(result.path)
        if not len(table):
            raise UserError(f"{result.path} has no nuclei: segment another image.")
        rows = store.find(table.columns) if store else np.array([-1])
        if store is None or (rows < 0).any():
            raise UserError(f"Nuclei of {result.path} have no features: make them first.")
        own = np.empty((len(table), store.width + len(COLUMNS)), np.float16)
        own[:, : store.width] = store.read(rows)
        for place, name in enumerate(COLUMNS, store.width):
            own[:, place] = _measurement(table.columns[name], name, result)
        centres = np.stack([table.columns["centroid_x"], table.columns["centroid_y"]], 1)
        centres *= result.mpp
        return cls(
            result.path.stem,
            store.network,
            table.labels.astype(np.int64),
            centres,
            own,
            mean_over_neighbours(centres),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return all that describes some nuclei.

        Parameters
        ----------
        index : (M,) ndarray of int
            Places in `labels`.

        Returns
        -------
        (M, 3 F) ndarray of float32
            Own, near and far.
        """
        described = np.empty((len(index), 3 * self.own.shape[1]), np.float32)
        for start in range(0, len(index), _SAMPLE // 10):
            some = index[start : start + _SAMPLE // 10]
            near = self.mean_over_neighbours[some]
            far = near
            for _ in range(STEPS - 1):
                far = far @ self.mean_over_neighbours
            reached = np.unique(far.indices)
            around = self.own[reached].astype(np.float32)
            parts = (self.own[some], near[:, reached] @ around, far[:, reached] @ around)
            described[start : start + len(some)] = np.concatenate(parts, axis=1)
        return described

    def sample(self) -> NDArray[np.int64]:
        """Return the places of nuclei that stand for all, the same ones every time."""
        count = min(len(self), _SAMPLE)
        return np.sort(np.random.default_rng(0).choice(len(self), count, replace=False))

    def project(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Multiply what describes the nuclei by a matrix.

        Parameters
        ----------
        weights : (3 F, K) ndarray of float32
            The matrix.

        Returns
        -------
        (N, K) ndarray of float32
            The product, as ``describe(all) @ weights``.
        """
        count = weights.shape[1]
        side_by_side = np.concatenate(np.split(weights, 3), axis=1)
        products = np.empty((len(self), 3 * count), np.float32)
        for start in range(0, len(self), _PIECE):
            piece = self.own[start : start + _PIECE].astype(np.float32)
            np.matmul(piece, side_by_side, out=products[start : start + _PIECE])
        own, near, far = (np.ascontiguousarray(part) for part in np.split(products, 3, axis=1))
        for _ in range(STEPS - 1):
            far = self.mean_over_neighbours @ far
        return own + self.mean_over_neighbours @ (near + far)


def mean_over_neighbours(centres: NDArray[np.float64]) -> csr_array:
    """Return the matrix that takes means over neighbours.

    Parameters
    ----------
    centres : (N, 2) ndarray of float64
        x and y in µm.

    Returns
    -------
    (N, N) csr_array of float32
        `NEIGHBOURS` weights in a row, which sum to 1.
    """
    count = min(NEIGHBOURS, len(centres))
    tree = KDTree(centres)
    weights = np.empty((len(centres), count), np.float32)
    nearest = np.empty((len(centres), count), np.int32)
    for start in range(0, len(centres), _PIECE):
        piece = slice(start, start + _PIECE)
        # from 1 to `count`: a single one would come without its axis
        distance, nearest[piece] = tree.query(centres[piece], range(1, count + 1))
        weight = np.exp(-0.5 * (distance / REACH) ** 2) + 1e-6
        weights[piece] = weight / weight.sum(1, keepdims=True)
    starts = np.arange(0, len(centres) * count + 1, count, dtype=np.int32)
    shape = (len(centres), len(centres))
    return csr_array((weights.ravel(), nearest.ravel(), starts), shape=shape)


def _measurement(values: NDArray, name: str, result: Result) -> NDArray[np.float64]:
    """Return a column of the table as a classifier takes it."""
    values = values.astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        raise UserError(f"{result.path} has no {name}: segment the image again.")
    values = np.where(known, values, np.median(values[known]))
    if name in LENGTHS:
        return np.log(np.maximum(values, 1e-3))
    return values - np.median(values) if name in STAINS else values
