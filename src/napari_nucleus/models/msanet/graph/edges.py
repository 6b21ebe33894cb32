"""Edges between neighbouring nuclei."""

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

NEIGHBOURS = 5
"""K of the paper."""


def neighbour_edges(
    centroids: NDArray[np.floating], k: int = NEIGHBOURS, image: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Return an edge to every nucleus from each of its nearest neighbours.

    Parameters
    ----------
    centroids : ndarray of floating
        (N, 2), in pixels.
    k : int
        Neighbours of each; all others, where there are no more than `k`.
    image : array_like or None
        (N,), number of the image that a nucleus lies in, where there are several: only nuclei of
        one image are neighbours. Ascending.

    Returns
    -------
    ndarray
        (2, E), neighbour (source) and nucleus (target), as `torch_geometric` wants them, in the
        order of the targets.

    Examples
    --------
    >>> neighbour_edges(np.array([[0, 0], [1, 0], [3, 0]]), k=1).tolist()
    [[1, 0, 1], [0, 1, 2]]
    """
    images = np.zeros(len(centroids), int) if image is None else np.asarray(image)
    bounds = [*np.flatnonzero(np.diff(images, prepend=-1)), len(images)]
    parts = [_of_one(centroids[start:stop], k) + start for start, stop in pairwise(bounds)]
    return np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1)


def _of_one(centroids: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    count = len(centroids)
    k = min(k, count - 1)
    if k < 1:
        return np.empty((2, 0), np.int64)
    nuclei = np.arange(count)
    # A nucleus is its own nearest, save where others lie on the same spot: those may come first,
    # or even fill the list.
    _, near = cKDTree(centroids).query(centroids, k + 1)
    itself = near == nuclei[:, None]
    itself[~itself.any(1), -1] = True
    return np.stack([near[~itself], np.repeat(nuclei, k)]).astype(np.int64)
