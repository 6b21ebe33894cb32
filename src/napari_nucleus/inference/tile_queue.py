"""The tiles that are still to be made, the nearest to what is looked at first."""

from collections.abc import Callable, Sequence

import numpy as np

from napari_nucleus.slides.tiles import Grid, Tile

View = Callable[[], tuple[float, float] | None]
"""Returns the centre (x, y) of what is looked at, in level-0 pixels; None where nothing is."""


class TileQueue:
    """Tiles in the order in which they are wanted.

    Parameters
    ----------
    tiles : sequence of Tile
        Row by row, as they are taken where nothing is looked at.
    grid : Grid
        Their grid.
    view : callable or None
        Asked before every tile.
    """

    def __init__(self, tiles: Sequence[Tile], grid: Grid, view: View | None) -> None:
        self._tiles = list(tiles)
        self._view = view
        boxes = np.array([grid.on_slide(tile.core) for tile in tiles]).reshape(-1, 4)
        self._centres = (boxes[:, :2] + boxes[:, 2:]) / 2

    def __len__(self) -> int:
        return len(self._tiles)

    def take(self) -> Tile:
        """Return the next tile, which is not in the queue any more."""
        place = None if self._view is None else self._view()
        index = 0
        if place is not None:
            index = int(np.square(self._centres - place).sum(1).argmin())
        self._centres = np.delete(self._centres, index, axis=0)
        return self._tiles.pop(index)
