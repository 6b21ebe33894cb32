"""Tiles of a slide for a network, and the position of its pixels on level 0."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

STRIDE = 32
"""Network pixels of which the offsets of tiles and windows are multiples: a network that reduces
its input by 32 then gives the same output in every tile."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, half open: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    def union(self, other: "Box") -> "Box":
        """Return the smallest box around both.

        Parameters
        ----------
        other : Box
            The other box.

        Returns
        -------
        Box
            Around both.
        """
        return Box(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    def meets(self, other: "Box") -> bool:
        """Return whether two boxes share a pixel.

        Parameters
        ----------
        other : Box
            The other box.

        Returns
        -------
        bool
            Whether they overlap.
        """
        wide = self.x0 < other.x1 and other.x0 < self.x1
        return wide and self.y0 < other.y1 and other.y0 < self.y1

    def grown(self, margin: int, within: "Box") -> "Box":
        """Return the box with a margin on all sides.

        Parameters
        ----------
        margin : int
            Width of the margin in pixels.
        within : Box
            Box to which the result is clipped.

        Returns
        -------
        Box
            The larger box.
        """
        return Box(
            max(self.x0 - margin, within.x0),
            max(self.y0 - margin, within.y0),
            min(self.x1 + margin, within.x1),
            min(self.y1 + margin, within.y1),
        )


@dataclass(frozen=True)
class Tile:
    """A tile of the grid: the network sees `window`, the nuclei centred in `core` are kept.

    Attributes
    ----------
    row, column : int
        Place in the grid.
    core, window : Box
        In network pixels.
    """

    row: int
    column: int
    core: Box
    window: Box


@dataclass(frozen=True)
class Grid:
    """Network pixels over a slide, and the tiles that they are computed in.

    Network pixel (i, j) covers level-0 pixels from ``i * scale`` on: the grid begins at the corner
    of the slide, so that a place is in the same tile, and is seen in the same way, whatever part of
    the slide is asked for.

    Attributes
    ----------
    shape : tuple of 2 int
        Height and width of the slide's level 0.
    scale : float
        Level-0 pixels per network pixel.
    stride : int
        Network pixels of which the offsets of tiles and windows are multiples.
    side : int
        Side of a core in network pixels, rounded up to a multiple of the stride.
    margin : int
        Margin of a window around its core in network pixels, rounded up likewise; less at the
        edges of the slide.
    """

    shape: tuple[int, int]
    scale: float
    stride: int = STRIDE
    side: int = 640
    margin: int = 64

    @property
    def extent(self) -> Box:
        """The slide in network pixels."""
        height, width = self.shape
        return Box(
            0, 0, max(math.ceil(width / self.scale), 1), max(math.ceil(height / self.scale), 1)
        )

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return math.ceil(self.extent.height / self._whole(self.side))

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return math.ceil(self.extent.width / self._whole(self.side))

    def tile(self, row: int, column: int) -> Tile:
        """Return a tile.

        Parameters
        ----------
        row, column : int
            Its place.

        Returns
        -------
        Tile
            Core and window, within the slide.
        """
        side, extent = self._whole(self.side), self.extent
        corner = Box(column * side, row * side, (column + 1) * side, (row + 1) * side)
        return Tile(
            row,
            column,
            corner.grown(0, extent),
            corner.grown(self._whole(self.margin), extent),
        )

    def tiles(self) -> list[Tile]:
        """Return all tiles, row by row."""
        return [
            self.tile(row, column) for row in range(self.rows) for column in range(self.columns)
        ]

    def on_slide(self, box: Box) -> tuple[float, float, float, float]:
        """Return the edges of a box in level-0 pixels.

        Parameters
        ----------
        box : Box
            Box of network pixels.

        Returns
        -------
        tuple of 4 float
            ``(x0, y0, x1, y1)`` in level-0 pixels.
        """
        s = self.scale
        return box.x0 * s, box.y0 * s, box.x1 * s, box.y1 * s

    def to_slide(
        self, labels: np.ndarray, probability: np.ndarray, threshold: float, window: Box
    ) -> tuple[np.ndarray, Box]:
        """Resample the labels of a window to level 0, with smooth outlines.

        A level-0 pixel gets the label of its network pixel, or of one beside it, where the
        interpolated probability reaches `threshold`.

        Parameters
        ----------
        labels : (h, w) ndarray of int32
            Labels of the window, 0 = background.
        probability : (h, w) ndarray of float
            Probability of nucleus.
        threshold : float
            Threshold of the probability that `labels` were made with.
        window : Box
            Box of network pixels.

        Returns
        -------
        labels : (H, W) ndarray of int32
            Labels of level-0 pixels.
        box : Box
            Their box in level-0 pixels, within the slide.
        """
        height, width = self.shape
        x0, y0, x1, y1 = self.on_slide(window)
        box = Box(
            max(round(x0), 0), max(round(y0), 0), min(round(x1), width), min(round(y1), height)
        )
        if self.scale == 1:
            top, left = box.y0 - round(y0), box.x0 - round(x0)
            return labels[top : top + box.height, left : left + box.width], box
        columns = _nearest(box.x0, box.x1, x0, self.scale, labels.shape[1])
        rows = _nearest(box.y0, box.y1, y0, self.scale, labels.shape[0])
        grown = cv2.dilate(labels.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        grown = np.where(labels > 0, labels, grown)
        step = 1 / self.scale
        offset_x, offset_y = (box.x0 + 0.5 - x0) * step - 0.5, (box.y0 + 0.5 - y0) * step - 0.5
        smooth = cv2.warpAffine(
            np.ascontiguousarray(probability, np.float32),
            np.array([[step, 0, offset_x], [0, step, offset_y]]),
            (box.width, box.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.where(smooth >= threshold, grown[rows][:, columns], 0), box

    def _whole(self, length: float) -> int:
        """Return the smallest multiple of the stride that is at least `length`."""
        return self.stride * math.ceil(length / self.stride)


def map_stride(size: tuple[int, int], of_map: tuple[int, int]) -> int:
    """Return the stride of a network's output map.

    Parameters
    ----------
    size : tuple of 2 int
        Height and width of the image in pixels.
    of_map : tuple of 2 int
        Height and width of the map: those of the image divided by the stride, rounded up.

    Returns
    -------
    int
        Pixels per value of the map: 1, or a power of two up to `STRIDE`. The smallest one, where
        several fit a small image.

    Raises
    ------
    ValueError
        If no stride fits.

    Examples
    --------
    >>> map_stride((270, 270), (17, 17))
    16
    """
    stride = 1
    while stride <= STRIDE:
        if (math.ceil(size[0] / stride), math.ceil(size[1] / stride)) == tuple(of_map):
            return stride
        stride *= 2
    raise ValueError(f"a map of {of_map} does not cover {size} px by a whole stride")


def _nearest(start: int, stop: int, origin: float, scale: float, size: int) -> np.ndarray:
    index = np.floor((np.arange(start, stop) + 0.5 - origin) / scale).astype(int)
    return index.clip(0, size - 1)
