"""Regions of a layer: the visible area, or the area of a shape."""

import math
from collections.abc import Iterable
from itertools import count, product
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.shared.layer_pixels import plane_shape

Region = tuple[int, int, int, int]
"""x, y, width and height in level-0 pixels."""

Outline = list[tuple[float, float]]
"""Corners (x, y) of a polygon in level-0 pixels, whose centres have whole coordinates."""


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
    shapes = _shapes_layer(viewer)
    chosen = _chosen(shapes)
    if len(chosen) > 1:
        raise UserError(f"{shapes.name} has several shapes: select one.")
    return _checked(layer, _corners(shapes, chosen[0]))


def shape_regions(viewer: ViewerModel, layer: Image | Labels) -> dict[str, Outline]:
    """Return the selected shapes, or all of the layer when none is selected.

    Returns
    -------
    dict of str to Outline
        Name to corners (x, y) in the layer's level-0 pixels. Names are those of the shapes, in the
        first of their features that holds text, or "region 1", "region 2", ... as they were drawn.

    Raises
    ------
    UserError
        If there is no shape, or one is a line or lies outside the layer.
    """
    shapes = _shapes_layer(viewer)
    names = _names(shapes)
    found: dict[str, Outline] = {}
    for index in _chosen(shapes):
        corners = _corners(shapes, index)
        _checked(layer, corners)
        inside = [layer.world_to_data(corner)[-2:] for corner in corners]
        found[names[index]] = [(float(x), float(y)) for y, x in inside]
    return found


def _chosen(shapes: Shapes) -> list[int]:
    """Return which shapes are meant."""
    chosen = sorted(shapes.selected_data) or list(range(len(shapes.data)))
    if not chosen:
        raise UserError(f"{shapes.name} has no shape: draw one around the region.")
    return chosen


def _names(shapes: Shapes) -> list[str]:
    """Return a name for every shape, each once."""
    texts = [""] * len(shapes.data)
    for _, column in shapes.features.items():
        values = [value.strip() if isinstance(value, str) else "" for value in column]
        if any(values):
            texts = values
            break
    names: list[str] = []
    for number, text in enumerate(texts, 1):
        name = text or f"region {number}"
        same = (f"{name} ({n})" for n in count(2))
        names.append(name if name not in names else next(one for one in same if one not in names))
    return names


def _checked(layer: Image | Labels, corners: Iterable[Any]) -> Region:
    """Return the rectangle around a shape, in world coordinates."""
    region = _bounding_region(layer, corners)
    if region is None:
        raise UserError(f"The shape lies outside {layer.name}: draw it on the image.")
    return region


def _corners(shapes: Shapes, index: int) -> list[Any]:
    """Return the corners of a shape in world coordinates."""
    corners = np.asarray(shapes.data[index])
    if len(corners) < 3:
        raise UserError("The shape is a line: draw a rectangle, an ellipse or a polygon.")
    if shapes.shape_type[index] == "ellipse":
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
    inside = np.array([layer.world_to_data(point)[-2:] for point in points])
    # napari's data coordinates count from the centre of the first pixel.
    top, left = np.maximum(np.floor(inside.min(0) + 0.5), 0)
    height, width = plane_shape(layer)
    bottom = min(math.ceil(inside[:, 0].max() + 0.5), height)
    right = min(math.ceil(inside[:, 1].max() + 0.5), width)
    if bottom <= top or right <= left:
        return None
    return int(left), int(top), int(right - left), int(bottom - top)
