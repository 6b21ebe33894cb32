"""Which nuclei of neighbouring tiles are kept, and which pixels are whose.

Every tile offers what it sees, whatever the others offer. Of two nuclei of different tiles that are
the same one, that stays which lies deeper inside its window. The rule looks at the nuclei alone,
not at what was done first, so that the result is the same in whatever order, by whichever machine
and in how many pieces the tiles were made.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.measure.runs import LabelRuns

SAME = 0.3
"""IoU above which two nuclei are the same one."""

WITHIN = 0.5
"""Share of the smaller one's pixels above which one of two nuclei lies within the other."""

_ROUNDS = 4
"""Rounds of settling. One is enough where no nucleus disputes with one that is disputed itself; a
fixed number keeps the outcome independent of what lies further away."""

Place = tuple[int, int]


# Neighbours that come before a tile; with the later ones it is their turn.
_EARLIER = (-1, -1), (-1, 0), (-1, 1), (0, -1)


class Settled(NamedTuple):
    """What becomes of the nuclei of all tiles.

    Attributes
    ----------
    dropped : dict of Place to set of int
        By tile: its nuclei that another tile keeps.
    trimmed : dict of Place to dict
        By tile: its nuclei that leave pixels to nuclei of others, and to which.
    """

    dropped: dict[Place, set[int]]
    trimmed: dict[Place, dict[int, list[tuple[Place, int]]]]


class _Nucleus(NamedTuple):
    """A nucleus at a seam; they are ordered by precedence, the first is kept."""

    depth: float  # negative: the deepest is the first
    tile: Place
    number: int


def settle(places: Iterable[Place], load: Callable[[Place], TileNuclei | None]) -> Settled:
    """Settle which nuclei are kept.

    Parameters
    ----------
    places : iterable of tuple of 2 int
        Row and column of all tiles, row by row.
    load : callable
        Returns the tile at a place, None if there is none.

    Returns
    -------
    Settled
        Of the nuclei near seams; all others stay as they are.
    """
    disputes: dict[_Nucleus, set[_Nucleus]] = {}
    overlaps: list[tuple[_Nucleus, _Nucleus]] = []
    for place in places:
        row, column = place
        tile = load(place)
        for other in (
            (row - 1, column - 1),
            (row - 1, column),
            (row - 1, column + 1),
            (row, column - 1),
        ):
            neighbour = load(other)
            if tile is None or neighbour is None:
                continue
            for one, two, same in _overlaps(tile, neighbour):
                overlaps.append((one, two))
                if same:
                    disputes.setdefault(one, set()).add(two)
                    disputes.setdefault(two, set()).add(one)
    lost = _losers(disputes)
    dropped: dict[Place, set[int]] = {}
    for nucleus in lost:
        dropped.setdefault(nucleus.tile, set()).add(nucleus.number)
    trimmed: dict[Place, dict[int, list[tuple[Place, int]]]] = {}
    for pair in overlaps:
        if lost.isdisjoint(pair):
            first, second = sorted(pair)
            of_tile = trimmed.setdefault(second.tile, {})
            of_tile.setdefault(second.number, []).append((first.tile, first.number))
    return Settled(dropped, trimmed)


def _losers(disputes: dict[_Nucleus, set[_Nucleus]]) -> set[_Nucleus]:
    """Return the nuclei that are not kept."""
    undecided, lost = set(disputes), set()
    for _ in range(_ROUNDS):
        kept = {one for one in undecided if one < min(disputes[one] & undecided, default=_LAST)}
        beaten = {other for one in kept for other in disputes[one]} & undecided
        undecided -= kept | beaten
        lost |= beaten
        if not undecided:
            break
    return lost | undecided


_LAST = _Nucleus(np.inf, (0, 0), 0)


def _overlaps(one: TileNuclei, two: TileNuclei) -> list[tuple[_Nucleus, _Nucleus, bool]]:
    """Return pairs of nuclei that share pixels, and whether they are the same nucleus."""
    if not len(one) or not len(two):
        return []
    boxes = [tile.table[["x0", "y0", "x1", "y1"]].to_numpy() for tile in (one, two)]
    x0, y0 = np.maximum(*(box[:, :2].min(0) for box in boxes)).tolist()
    x1, y1 = np.minimum(*(box[:, 2:].max(0) for box in boxes)).tolist()
    if x0 >= x1 or y0 >= y1:
        return []
    first, second = (_painted(tile.runs, x0, y0, x1, y1) for tile in (one, two))
    both = (first > 0) & (second > 0)
    if not both.any():
        return []
    pairs = (first[both].astype(np.int64) - 1) * len(two) + second[both] - 1
    pairs, shared = np.unique(pairs, return_counts=True)
    of_one, of_two = np.divmod(pairs, len(two))
    area_one, area_two = one.runs.area[of_one], two.runs.area[of_two]
    iou = shared / (area_one + area_two - shared)
    same = (iou > SAME) | (shared > WITHIN * np.minimum(area_one, area_two))
    return [
        (_nucleus(one, i), _nucleus(two, j), is_same)
        for i, j, is_same in zip(of_one.tolist(), of_two.tolist(), same.tolist(), strict=True)
    ]


def _nucleus(tile: TileNuclei, index: int) -> _Nucleus:
    return _Nucleus(-float(tile.depth[index]), (tile.row, tile.column), index)


def _painted(runs: LabelRuns, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.int32]:
    """Return a box of pixels with the numbers of the nuclei, from 1 on; 0 = background."""
    canvas = np.zeros((y1 - y0, x1 - x0), np.int32)
    paint(canvas, x0, y0, runs, np.arange(1, runs.count + 1))
    return canvas


def paint(
    canvas: NDArray[np.int32], x0: int, y0: int, runs: LabelRuns, values: NDArray[np.integer]
) -> None:
    """Paint nuclei into a box of pixels, over what is there.

    Parameters
    ----------
    canvas : (H, W) ndarray of int32
        Its pixels, changed in place.
    x0, y0 : int
        Its first pixel, in level-0 pixels.
    runs : LabelRuns
        The nuclei, in level-0 pixels; they may reach beyond the box.
    values : (N,) ndarray of int
        What to paint for each nucleus; 0 does not paint it.
    """
    height, width = canvas.shape
    value = values[runs.nucleus]
    start = np.clip(runs.x - x0, 0, width)
    stop = np.clip(runs.x + runs.length - x0, 0, width)
    row = runs.y - y0
    kept = (value > 0) & (row >= 0) & (row < height) & (stop > start)
    start, length = row[kept] * width + start[kept], (stop - start)[kept]
    run = np.repeat(np.arange(len(length)), length)
    within = np.arange(len(run)) - (np.cumsum(length) - length)[run]
    canvas.ravel()[start[run] + within] = value[kept][run]
