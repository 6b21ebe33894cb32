"""Drawn regions: what an outline encloses, and which region a nucleus lies in."""

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

Regions = Mapping[str, Sequence[tuple[float, float]]]
"""Name of every region, and the corners (x, y) of its outline in level-0 pixels, whose centres have
whole coordinates."""


def enclosed(outline: Sequence[tuple[float, float]]) -> BaseGeometry:
    """Return what an outline encloses, though it may cross itself.

    Parameters
    ----------
    outline : sequence of tuple of 2 float
        Its corners (x, y).

    Returns
    -------
    shapely geometry
        One polygon or several, empty if it is only a line.

    Examples
    --------
    An hourglass:

    >>> enclosed([(0, 0), (2, 2), (2, 0), (0, 2)]).area
    2.0
    """
    if len(outline) < 3:
        return shapely.Polygon()
    # lines that are left over where an outline runs back on itself go with the buffer
    return shapely.make_valid(shapely.Polygon(outline)).buffer(0)


def region_names(regions: Regions, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the region of every point, of several the first.

    Parameters
    ----------
    regions : mapping of str to sequence of tuple of 2 float
        The outlines.
    x, y : (N,) ndarray of float
        The points.

    Returns
    -------
    (N,) ndarray of str
        Names, as objects; empty outside of all.

    Examples
    --------
    >>> square = [(0, 0), (9, 0), (9, 9), (0, 9)]
    >>> region_names({"tumour": square}, np.array([5, 20]), np.array([5, 5])).tolist()
    ['tumour', '']
    """
    names = np.full(len(x), "", object)
    for name, outline in regions.items():
        names[(names == "") & shapely.contains_xy(enclosed(outline), x, y)] = name
    return names
