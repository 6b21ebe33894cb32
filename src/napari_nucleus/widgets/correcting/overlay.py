"""Thin lines over the nuclei: what is reviewed, what is looked at, what the mouse draws."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_nucleus.edits.canvas import Points
from napari_nucleus.edits.edit import Region
from napari_nucleus.tiles import Box

_REVIEWED = "#5fd35f"
_DRAWN = "#ffe119"
_WIDTH = 2.0  # of what the mouse draws, in pixels of the screen


class Frames:
    """Regions that are marked as reviewed.

    Parameters
    ----------
    place
        Where level-0 pixels lie (`placement_of`).
    """

    def __init__(self, place: dict[str, Any]) -> None:
        self.layer = Shapes(
            name="reviewed",
            ndim=2,
            edge_color=_REVIEWED,
            face_color="transparent",
            opacity=1,
            **place,
        )

    def show(self, regions: Sequence[Region]) -> None:
        """Frame these regions and no others."""
        self.layer.data = []
        if regions:
            # To be seen at any zoom at which the region is.
            widths = [max(min(x1 - x0, y1 - y0) / 150, 1) for x0, y0, x1, y1 in regions]
            self.layer.add_rectangles(
                [_corners(Box(*region)) for region in regions], edge_width=widths
            )


class Sketch:
    """What the mouse draws, and frames around what is looked at.

    Parameters
    ----------
    place
        Where level-0 pixels lie.
    """

    def __init__(self, place: dict[str, Any]) -> None:
        self.layer = Shapes(
            name="drawing",
            ndim=2,
            edge_color=_DRAWN,
            face_color="transparent",
            opacity=1,
            **place,
        )
        self._frames: list[Box] = []
        self._edge: Box | None = None

    def frame(self, boxes: Iterable[Box], edge: Box | None) -> None:
        """Put frames around nuclei and along an edge, in place of those before.

        Parameters
        ----------
        boxes
            Boxes of level-0 pixels around the nuclei.
        edge
            Where the region ends in which can be corrected, None for no line.
        """
        self._frames = list(boxes)
        self._edge = edge
        self.trace([], "", 1)

    def trace(self, points: Points, kind: str, zoom: float) -> None:
        """Draw a line, lasso or box through points (x, y), in place of the one before.

        Parameters
        ----------
        points
            Level-0 pixels, none to draw nothing.
        kind
            As `Tool.trace`.
        zoom
            Pixels of the screen per level-0 pixel.
        """
        self.layer.data = []
        width = _WIDTH / zoom
        if self._edge is not None:
            self.layer.add_rectangles([_corners(self._edge)], edge_width=1, edge_color="white")
        for box in self._frames:
            margin = max(box.width, box.height) / 4 + 2
            frame = _corners(box) + margin * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
            self.layer.add_rectangles([frame], edge_width=max(margin / 8, 0.5), edge_color=_DRAWN)
        if len(points) < 2:
            return
        corners = np.array(points)[:, ::-1]
        if kind == "line":
            self.layer.add_paths([corners], edge_width=width, edge_color=_DRAWN)
        elif kind == "box":
            (y0, x0), (y1, x1) = corners[0], corners[-1]
            box_corners = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
            self.layer.add_rectangles([box_corners], edge_width=width, edge_color=_DRAWN)
        else:
            self.layer.add_paths(
                [np.vstack([corners, corners[:1]])], edge_width=width, edge_color=_DRAWN
            )


def _corners(box: Box) -> np.ndarray:
    """Return the corners (y, x) of a box, whose edges lie between centres of pixels."""
    x0, y0, x1, y1 = (edge - 0.5 for edge in (box.x0, box.y0, box.x1, box.y1))
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
