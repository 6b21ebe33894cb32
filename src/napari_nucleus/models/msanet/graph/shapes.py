"""Size and shape of nuclei, as their sentences need them."""

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.measure import measure_shapes

SHAPE_COLUMNS = ("diameter", "axis_ratio", "solidity")
"""Diameter of the disc of the same area, in pixels; minor axis over major axis, 1 of a single
pixel; area over that of the convex hull."""


def nucleus_shapes(labels: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Measure the nuclei of an image.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        Nuclei are above 0.

    Returns
    -------
    centroids
        (N, 2), x and y in pixels, whose centres have whole coordinates.
    shapes
        (N, 3), `SHAPE_COLUMNS`. One row per label, in ascending order, as `pool_nuclei` has them.
    """
    table = measure_shapes(np.maximum(labels, 0))
    major = table["major_axis_px"].to_numpy()
    ratio = np.divide(
        table["minor_axis_px"].to_numpy(), major, out=np.ones_like(major), where=major > 0
    )
    diameter = 2 * np.sqrt(table["area_px2"].to_numpy() / np.pi)
    centroids = table[["centroid_x", "centroid_y"]].to_numpy(float)
    return centroids, np.stack([diameter, ratio, table["solidity"].to_numpy()], axis=1)
