"""Thin lines over the nuclei: what is reviewed, what is looked at, what the mouse draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_nucleus.edits.canvas import Points
from napari_nucleus.results.journal.edit import Region
from napari_nucleus.slides.tiles import Box

_REVIEWED = "#5fd35f"
_DRAWN = "#ffe119"
_EDGE = "#ffffff"
_WIDTH = 2.0  # of what the mouse draws, in pixels of the screen


class _Lines:
    """A shapes layer over a result.

    Attributes
    ----------
    layer
        The layer.

    Parameters
    ----------
    name : str
        Its name.
    shape : tuple of 2 int
        Height and width of the result.
    placement : dict of str to Any
        Where level-0 pixels lie (`placement_of`).
    """

    def __init__(self, name: str, shape: tuple[int, int], placement: dict[str, Any]) -> None:
        self.layer = Shapes(name=name, ndim=2, face_color="transparent", opacity=1, **placement)
        self._last = np.array(shape) - 1

    def _inside(self, corners: Points | np.ndarray) -> np.ndarray:
        """Return corners (x, y) as napari has them, (y, x), and none beside the image.

        A line that reaches farther than all layers makes napari slice them all anew: half a second.
        """
        return np.clip(np.array(corners, float)[:, ::-1], 0, self._last)

    def _corners(self, box: Box, margin: float = 0) -> np.ndarray:
        """Return the corners of a box, whose edges lie between the centres of pixels."""
        x0, y0 = box.x0 - 0.5 - margin, box.y0 - 0.5 - margin
        x1, y1 = box.x1 - 0.5 + margin, box.y1 - 0.5 + margin
        return self._inside([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


class Frames(_Lines):
    """Regions that are marked as reviewed, and the one that is open; parameters as of `Sketch`."""

    def __init__(self, shape: tuple[int, int], placement: dict[str, Any]) -> None:
        super().__init__("reviewed", shape, placement)

    def show(self, regions: Sequence[Region], edge: Box | None) -> None:
        """Draw frames in place of those before.

        Parameters
        ----------
        regions : sequence of Region
            What is reviewed.
        edge : Box or None
            Where the region ends in which can be corrected, None for no line.
        """
        self.layer.data = []
        boxes = [Box(*region) for region in regions] + ([] if edge is None else [edge])
        if boxes:
            self.layer.add_rectangles(
                [self._corners(box) for box in boxes],
                # To be seen at any zoom at which the region is.
                edge_width=[max(min(box.width, box.height) / 250, 1) for box in boxes],
                edge_color=[_REVIEWED] * len(regions) + [_EDGE] * (edge is not None),
            )


class Sketch(_Lines):
    """What the mouse draws, and frames around what is looked at.

    Parameters
    ----------
    shape : tuple of 2 int
        Height and width of the result.
    placement : dict of str to Any
        Where level-0 pixels lie (`placement_of`).
    """

    def __init__(self, shape: tuple[int, int], placement: dict[str, Any]) -> None:
        super().__init__("drawing", shape, placement)
        self._frames: list[Box] = []

    def frame(self, boxes: Sequence[Box]) -> None:
        """Put frames around nuclei, in place of those before."""
        if boxes != self._frames:  # to draw takes napari 20 ms
            self._frames = list(boxes)
            self.trace([], "", 1)

    def trace(self, points: Points, trace: str, zoom: float) -> None:
        """Draw a line, lasso or box through points (x, y), in place of the one before.

        Parameters
        ----------
        points : Points
            Level-0 pixels, none to draw nothing.
        trace : str
            As `Tool.trace`.
        zoom : float
            Pixels of the screen per level-0 pixel.
        """
        self.layer.data = []
        for box in self._frames:
            margin = max(box.width, box.height) / 4 + 2
            self.layer.add_rectangles(
                [self._corners(box, margin)], edge_width=max(margin / 8, 0.5), edge_color=_DRAWN
            )
        if len(points) < 2:
            return
        if trace == "box":
            (x0, y0), (x1, y1) = points[0], points[-1]
            points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        closed = [] if trace == "line" else [points[0]]
        self.layer.add_paths(
            [self._inside([*points, *closed])], edge_width=_WIDTH / zoom, edge_color=_DRAWN
        )
