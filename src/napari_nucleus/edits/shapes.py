"""Shapes of nuclei, changed: pure functions on small masks."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_nucleus.errors import UserError

Mask = NDArray[np.bool_]

# A hand that trembles cuts off crumbs; nuclei as small are none (`hover_instances`).
_CRUMB = 10

_APART = "These nuclei do not touch: paint between them first, or choose others."


def part_mask(mask: Mask, line: Sequence[tuple[float, float]]) -> np.ndarray:
    """Part a nucleus along a line; no pixel is lost.

    Parameters
    ----------
    mask : Mask
        (H, W), the nucleus.
    line : Sequence[tuple[float, float]]
        Corners (x, y) of the line, in pixels whose centres have whole coordinates.

    Returns
    -------
    ndarray
        Int32 (H, W), pieces from 1 on in descending order of size, 0 = background. There is one
        piece where the line does not go all the way through.
    """
    cut = np.zeros(mask.shape, np.uint8)
    corners = np.rint(np.asarray(line, float)).astype(np.int32)
    cv2.polylines(cut, [corners], isClosed=False, color=1, lineType=cv2.LINE_8)
    crossed = cut.astype(bool) & mask
    if not crossed.any():
        return mask.astype(np.int32)
    # Pieces that touch by corners only are parted: the line itself may be connected no better.
    count, found = cv2.connectedComponents((mask & ~crossed).astype(np.uint8), connectivity=4)
    sizes = np.bincount(found.ravel(), minlength=count)
    whole = sizes >= _CRUMB
    whole[0] = False
    if whole.sum() < 2:
        return mask.astype(np.int32)
    nearest = distance_transform_edt(~whole[found], return_distances=False, return_indices=True)
    pieces = np.where(mask, found[tuple(nearest)], 0)
    sizes = np.bincount(pieces[mask], minlength=count)
    rank = np.zeros(count, np.int32)
    rank[np.argsort(-sizes, kind="stable")[: whole.sum()]] = np.arange(1, whole.sum() + 1)
    return rank[pieces]


def join_masks(labels: np.ndarray, wanted: Sequence[int], reach: float) -> Mask:
    """Make one nucleus of several; gaps between them are filled.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 = background.
    wanted : sequence of int
        The nuclei.
    reach : float
        Widest gap that is filled, in pixels.

    Returns
    -------
    ndarray
        Bool (H, W), the nucleus: those that touch by a side as they are, and of a gap the
        background that a morphological closing adds between the two.

    Raises
    ------
    UserError
        If a nucleus is farther away from the others, or another one lies between.
    """
    joined = labels == wanted[0]
    free = labels == 0
    waiting = list(wanted[1:])
    while waiting:
        distance = distance_transform_edt(~joined)
        gaps = {label: float(distance[labels == label].min()) for label in waiting}
        nearest = min(gaps, key=gaps.__getitem__)
        other = labels == nearest
        if gaps[nearest] > reach + 1:
            raise UserError(_APART)
        if gaps[nearest] > 1:
            joined |= _bridge(joined, other, free, reach)
        joined |= other
        waiting.remove(nearest)
    return joined


def free_part(labels: np.ndarray, mask: Mask) -> Mask:
    """Return the largest connected part of a new nucleus that no other nucleus has.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 = background.
    mask : Mask
        (H, W), the new nucleus.

    Raises
    ------
    UserError
        If there is no free pixel.
    """
    free = (mask & (labels == 0)).astype(np.uint8)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    if len(statistics) < 2:
        raise UserError("A nucleus is already there: split, merge or delete it.")
    return parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def _bridge(one: Mask, other: Mask, free: Mask, reach: float) -> Mask:
    """Return the free pixels that the smallest closing adds to connect two masks by sides."""
    # Half the gap is enough between straight sides, round ones take a little more.
    for radius in range(1, int(np.ceil(reach)) + 2):
        added = _closed(one | other, radius) & ~_closed(one, radius) & ~_closed(other, radius)
        added &= free
        _, parts = cv2.connectedComponents((one | other | added).astype(np.uint8), connectivity=4)
        shared = np.intersect1d(parts[one], parts[other])
        if len(shared):
            return added & np.isin(parts, shared)
    raise UserError(_APART)


def _closed(mask: Mask, radius: int) -> Mask:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    padded = np.pad(mask.astype(np.uint8), radius)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    return closed[radius:-radius, radius:-radius] > 0
