"""Where the nuclei of a label image are."""

import numpy as np


def centroids(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of an image and their centres.

    Parameters
    ----------
    labels
        Int (H, W), 0 = background; numbers may be missing.

    Returns
    -------
    ids
        Int (N,), ascending.
    xy
        Float (N, 2), pixels.

    Examples
    --------
    >>> ids, xy = centroids(np.array([[0, 7, 7], [0, 7, 7]]))
    >>> ids.tolist(), xy.tolist()
    ([7], [[1.5, 0.5]])
    """
    y, x = np.nonzero(labels)
    of = labels[y, x]
    count = np.bincount(of)
    ids = np.flatnonzero(count)
    sums = (np.bincount(of, axis)[ids] for axis in (x, y))
    return ids, np.stack([total / count[ids] for total in sums], axis=1)
