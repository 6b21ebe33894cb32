"""Polygons and label images made of them."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import ArrayLike


def polygon(corners: ArrayLike) -> shapely.Polygon:
    """Return a polygon with the given corners.

    Parameters
    ----------
    corners : (N, 2) array of float
        Corners (x, y) in pixels.

    Returns
    -------
    shapely.Polygon
        Closed; it may cross itself.

    Raises
    ------
    ValueError
        If a coordinate is not finite, or there are fewer than three corners.
    """
    corners = np.asarray(corners, float)
    if not np.isfinite(corners).all():
        raise ValueError("a coordinate is not finite")
    return shapely.Polygon(corners)


def rasterize(
    outlines: Sequence[shapely.Geometry], shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> np.ndarray:
    """Return the label image of outlines.

    A pixel belongs to an outline if its centre lies inside; the first pixel of an image reaches
    from 0 to 1, so that its centre is at (0.5, 0.5), as in ImageScope and QuPath. Where outlines
    overlap, the smallest is on top: none disappears below a larger one.

    Parameters
    ----------
    outlines : sequence of shapely.Geometry
        Polygons or multipolygons in (x, y), with holes or without.
    shape : tuple of 2 int
        Height and width of the result.
    origin : tuple of 2 int
        (x, y) of the corner of its first pixel.

    Returns
    -------
    (H, W) ndarray of int32
        0 = background, and 1 to N in the order of the outlines. An outline that contains the centre
        of no pixel has none.

    Examples
    --------
    >>> rasterize([shapely.box(1, 0, 3, 1)], (2, 4))
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]], dtype=int32)
    """
    labels = np.zeros(shape, np.int32)
    bounds = shapely.bounds(np.asarray(outlines, object)).reshape(-1, 4)
    bounds -= np.tile(origin, 2)
    for index in np.argsort(-shapely.area(np.asarray(outlines, object)), kind="stable"):
        if shapely.is_empty(outlines[index]):
            continue
        x0, y0 = np.maximum(np.floor(bounds[index, :2]).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(bounds[index, 2:]).astype(int), (shape[1], shape[0]))
        if x0 >= x1 or y0 >= y1:
            continue
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        inside = shapely.contains_xy(outlines[index], x + origin[0], y + origin[1])
        labels[y0:y1, x0:x1][inside] = index + 1
    return labels
