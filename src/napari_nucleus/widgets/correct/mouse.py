"""Clicks and strokes on a layer, in level-0 pixels."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_nucleus.edits.canvas import Points

# A hand that clicks moves the mouse by no more than this, in pixels of the screen.
_STILL = 4.0

Point = tuple[float, float]


class DragHandler:
    """A drag callback of napari that tells clicks and strokes apart.

    Parameters
    ----------
    active : callable
        Tells whether the pen is in use.
    to_pixel : callable
        Converts a position in world coordinates into a point (x, y).
    show : callable
        Gets the stroke while it is drawn, and no points when it ends.
    click, stroke : callable
        Get the point, or all points, at the end.
    """

    def __init__(
        self,
        active: Callable[[], bool],
        to_pixel: Callable[[Any], Point],
        show: Callable[[Points], object],
        click: Callable[[float, float], object],
        stroke: Callable[[Points], object],
    ) -> None:
        self._active = active
        self._to_pixel = to_pixel
        self._show = show
        self._click = click
        self._stroke = stroke

    def __call__(self, layer: Labels, event: Any) -> Iterator[None]:
        """Follow the mouse from press to release."""
        if event.button != 1 or not self._active():
            return
        points = [self._to_pixel(event.position)]
        last = start = np.array(event.pos)
        drawn = False
        yield
        while event.type == "mouse_move":
            position = np.array(event.pos)
            drawn = drawn or np.abs(position - start).max() > _STILL
            if drawn and np.abs(position - last).max() > 1:
                points.append(self._to_pixel(event.position))
                last = position
                self._show(points)
            yield
        self._show([])
        if drawn:
            self._stroke(points)
        else:
            self._click(*points[0])
