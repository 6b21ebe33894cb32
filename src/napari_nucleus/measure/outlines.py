"""Outlines of nuclei along the edges of their pixels: exact, valid polygons."""

import numpy as np
import shapely

# Sides of a pixel in the order in which its outline is walked: top, right, bottom, left, so that
# the nucleus lies to the right. Per side: step to the pixel beyond it, step along it, and the
# corner of the pixel where it starts; (x, y), y down.
_BEYOND = ((0, -1), (1, 0), (0, 1), (-1, 0))
_ALONG = ((1, 0), (0, 1), (-1, 0), (0, -1))
_START = ((0, 0), (1, 0), (1, 1), (0, 1))


def outlines(labels: np.ndarray, origin: tuple[int, int] = (0, 0)) -> dict[int, shapely.Geometry]:
    """Return the outline of every nucleus of a label image.

    Parameters
    ----------
    labels : ndarray
        (H, W) integers, 0 = background.
    origin : tuple of 2 int
        (x, y) of the corner of the first pixel, added to every coordinate.

    Returns
    -------
    dict
        Label to a valid `shapely.Polygon`, with holes where the nucleus has some, or
        `shapely.MultiPolygon` where it has several parts (pixels that touch by a corner only are
        parts). The first pixel of the image spans 0 to 1, so that the area of an outline is the
        number of its pixels.

    Examples
    --------
    >>> outlines(np.array([[0, 7, 7]]))[7].wkt
    'POLYGON ((1 0, 3 0, 3 1, 1 1, 1 0))'
    """
    padded = np.pad(labels, 1)
    sides, following = _sides(padded)
    path, ring = _walk(sides, following)
    if not path:
        return {}
    pixel, direction = np.divmod(sides[path], 4)
    y, x = np.divmod(pixel, padded.shape[1])
    corners = np.stack([x, y], 1) + np.array(_START)[direction] + np.array(origin) - 1
    rings = shapely.linearrings(corners.astype(float), indices=ring)
    owner = padded.ravel()[pixel][np.unique(ring, return_index=True)[1]]
    ascending = np.argsort(owner, kind="stable")
    found, starts = np.unique(owner[ascending], return_index=True)
    groups = np.split(rings[ascending], starts[1:])
    return dict(zip(found.tolist(), map(_polygon, groups), strict=True))


def _sides(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all sides of pixels on an outline, as 4·pixel + side, and which one follows each."""
    width = padded.shape[1]
    flat = padded.ravel()
    inside = np.flatnonzero(flat)
    found, following = [], []
    for side in range(4):
        beyond, along = (dx + width * dy for dx, dy in (_BEYOND[side], _ALONG[side]))
        pixel = inside[flat[inside] != flat[inside + beyond]]
        own = flat[pixel]
        ahead, across = pixel + along, pixel + along + beyond
        # Turning right round the same pixel comes first: where two pixels touch by a corner, the
        # outline does not pass from one to the other, and stays valid.
        right, straight = flat[ahead] != own, flat[across] != own
        found.append(4 * pixel + side)
        following.append(
            np.where(
                right,
                4 * pixel + (side + 1) % 4,
                np.where(straight, 4 * ahead + side, 4 * across + (side - 1) % 4),
            )
        )
    sides = np.concatenate(found)
    order = np.argsort(sides)
    sides = sides[order]
    return sides, np.searchsorted(sides, np.concatenate(following)[order])


def _walk(sides: np.ndarray, following: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the sides where an outline turns, ring after ring, and the number of their ring."""
    direction = sides % 4
    turns = direction != direction[np.argsort(following)]
    turning, steps = turns.tolist(), following.tolist()
    path: list[int] = []
    sizes: list[int] = []
    walked = bytearray(len(steps))
    for first in np.flatnonzero(turns).tolist():
        if walked[first]:
            continue
        done = len(path)
        side = first
        while not walked[side]:
            walked[side] = 1
            if turning[side]:
                path.append(side)
            side = steps[side]
        sizes.append(len(path) - done)
    return path, np.repeat(np.arange(len(sizes)), sizes)


def _polygon(rings: np.ndarray) -> shapely.Geometry:
    polygon = shapely.polygons(rings[0], holes=rings[1:])
    # What the rings enclose an odd number of times, whether they are parts or holes. A single ring
    # touches itself where the nucleus surrounds background that is open at a corner only.
    return polygon if polygon.is_valid else shapely.make_valid(polygon, method="linework")
