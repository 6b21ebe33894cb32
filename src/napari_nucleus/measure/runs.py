"""One pass over a label image: the horizontal runs of its nuclei, and what they add up to."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelRuns:
    """Horizontal runs of pixels of one label, in raster order.

    There are far fewer runs than pixels, so that whatever is summed over nuclei is summed over
    their runs.

    Attributes
    ----------
    labels : (N,) ndarray of int
        The nuclei, ascending.
    nucleus : (R,) ndarray of int
        Index into `labels` of each run.
    x, y : (R,) ndarray of int
        Column and row of the first pixel of each run.
    length : (R,) ndarray of int
        Its pixels.
    """

    labels: NDArray[np.integer]
    nucleus: NDArray[np.integer]
    x: NDArray[np.integer]
    y: NDArray[np.integer]
    length: NDArray[np.integer]

    @property
    def count(self) -> int:
        """Number N of nuclei."""
        return len(self.labels)

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """Pixels of each nucleus, (N,)."""
        return self.sum(self.length)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Bounding boxes (N, 4): x0, y0, x1, y1 in pixels, half open."""
        low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        x0, y0 = np.full(self.count, high), np.full(self.count, high)
        x1, y1 = np.full(self.count, low), np.full(self.count, low)
        np.minimum.at(x0, self.nucleus, self.x)
        np.minimum.at(y0, self.nucleus, self.y)
        np.maximum.at(x1, self.nucleus, self.x + self.length)
        np.maximum.at(y1, self.nucleus, self.y + 1)
        return np.stack([x0, y0, x1, y1], axis=1)

    @cached_property
    def centroids(self) -> NDArray[np.float64]:
        """Centroids (N, 2): x and y in pixels, whose centres have whole coordinates."""
        # offsets from the boxes keep the sums small, and so exact
        x0, y0 = self.boxes[:, 0], self.boxes[:, 1]
        x = self.length * (self.x - x0[self.nucleus]) + self.length * (self.length - 1) // 2
        y = self.length * (self.y - y0[self.nucleus])
        return np.stack([self.sum(x) / self.area + x0, self.sum(y) / self.area + y0], axis=1)

    def sum(self, values: NDArray) -> NDArray[np.float64]:
        """Add up one value per run over each nucleus.

        Parameters
        ----------
        values : (R,) ndarray
            One value per run.

        Returns
        -------
        (N,) ndarray of float64
            The sums.
        """
        return np.asarray(np.bincount(self.nucleus, values, self.count), float)


def label_runs(labels: NDArray[np.integer]) -> LabelRuns:
    """Find the horizontal runs of every nucleus of a label image.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background, as are negative values; numbers may be missing.

    Returns
    -------
    LabelRuns
        The runs, with areas, bounding boxes and centroids of the nuclei.

    Examples
    --------
    >>> runs = label_runs(np.array([[0, 7, 7], [4, 7, 7]]))
    >>> runs.labels.tolist(), runs.area.tolist()
    ([4, 7], [1.0, 4.0])
    >>> runs.centroids.tolist()
    [[0.0, 1.0], [1.5, 0.5]]
    >>> runs.boxes.tolist()
    [[0, 1, 1, 2], [1, 0, 3, 2]]
    """
    changes = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    length = np.diff(starts, append=labels.size)
    label = labels.ravel()[starts]
    kept = label > 0
    nucleus, names = pd.factorize(label[kept], sort=True)
    y, x = np.divmod(starts[kept], labels.shape[1])
    return LabelRuns(np.asarray(names), nucleus, x, y, length[kept])
