"""Regions of a layer: the visible area, or the area of a shape."""

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_nucleus.errors import UserError

Region = tuple[int, int, int, int]
"""x, y, width and height in level-0 pixels."""


def visible_region(viewer: ViewerModel, layer: Image | Labels) -> Region:
    """Return the visible area of a layer.

    Raises
    ------
    UserError
        If the layer is out of view.
    """
    camera = viewer.scene.camera
    center = np.array(camera.center[-2:])
    half = np.array(viewer.canvas.size) / camera.zoom / 2
    corners = [center + half * signs for signs in product((-1, 1), repeat=2)]
    region = _bounding_region(layer, corners)
    if region is None:
        raise UserError(f"{layer.name} is out of view: move it into view.")
    return region


def shape_region(viewer: ViewerModel, layer: Image | Labels) -> Region:
    """Return the rectangle around the selected shape, or around the only one.

    Raises
    ------
    UserError
        If there is no shape, several and none selected, or it lies outside the layer.
    """
    region = _bounding_region(layer, _shape_corners(viewer))
    if region is None:
        raise UserError(f"The shape lies outside {layer.name}: draw it on the image.")
    return region


def shape_outline(viewer: ViewerModel, layer: Image | Labels) -> list[tuple[float, float]]:
    """Return the corners of the same shape, (x, y) in the layer's level-0 pixels.

    Raises
    ------
    UserError
        If there is no shape, or several and none selected.
    """
    corners = [layer.world_to_data(corner)[:2] for corner in _shape_corners(viewer)]
    return [(float(x), float(y)) for y, x in corners]


def _shape_corners(viewer: ViewerModel) -> list[Any]:
    """Return the corners of the selected shape, or of the only one, in world coordinates."""
    shapes = _shapes_layer(viewer)
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    if not len(chosen):
        raise UserError(f"{shapes.name} has no shape: draw one around the region.")
    if len(chosen) > 1:
        raise UserError(f"{shapes.name} has several shapes: select one.")
    corners = np.asarray(shapes.data[chosen[0]])
    if len(corners) < 3:
        raise UserError("The shape is a line: draw a rectangle, an ellipse or a polygon.")
    if shapes.shape_type[chosen[0]] == "ellipse":
        corners = _ellipse(corners)
    return [shapes.data_to_world(corner) for corner in corners]


def _ellipse(box: np.ndarray, corners: int = 64) -> np.ndarray:
    """Return the ellipse in a box as a polygon; napari only has the corners of its box."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)[:, None]
    center = box.mean(0)
    return center + np.cos(angle) * (box[1] - box[0]) / 2 + np.sin(angle) * (box[3] - box[0]) / 2


def _shapes_layer(viewer: ViewerModel) -> Shapes:
    """Return the selected shapes layer, or the topmost one."""
    active = viewer.layers.selection.active
    candidates = [one for one in (*viewer.layers, active) if isinstance(one, Shapes)]
    if not candidates:
        raise UserError("There is no shapes layer: add one and draw a shape around the region.")
    return candidates[-1]


def _bounding_region(layer: Image | Labels, points: Iterable[Any]) -> Region | None:
    """Return the pixels of a layer within the bounding box of points in world coordinates."""
    inside = np.array([layer.world_to_data(point) for point in points])
    # napari's data coordinates count from the centre of the first pixel.
    top, left = np.maximum(np.floor(inside.min(0) + 0.5), 0)
    height, width = layer.level_shapes[0][:2]
    bottom = min(math.ceil(inside[:, 0].max() + 0.5), height)
    right = min(math.ceil(inside[:, 1].max() + 0.5), width)
    if bottom <= top or right <= left:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)
