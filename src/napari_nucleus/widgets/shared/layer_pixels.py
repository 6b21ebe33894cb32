"""The pixels that an image layer shows, as a plane that can be a slide."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.slides.overview import Shown
from napari_nucleus.slides.pyramid import array_as_rgb, as_dask

_CHANNELS = {"c", "channel", "channels", "s", "sample", "samples"}

# Pixels up to which an image is looked at as a whole; of a larger one, windows in rows and columns.
_WHOLE = 2**22
_WINDOWS = 8
_WINDOW = 64

# By how much values may exceed 0 to 1, as resampling leaves them.
_ROUNDING = 1e-3


class LayerPixels(NamedTuple):
    """One plane of a layer.

    Attributes
    ----------
    levels : list of Any
        (H, W) grey, or (H, W, 3 or 4) RGB and opacity; largest first, read when computed.
    conversion : str
        How they become RGB, such as "grey, taken as RGB"; empty for 8-bit RGB.
    """

    levels: list[Any]
    conversion: str


def layer_pixels(layer: Image, position: Sequence[int] | None = None) -> LayerPixels:
    """Return a plane of a layer, its last two dimensions.

    Parameters
    ----------
    layer : Image
        RGB, grey, channels first, or a stack of any of these; boolean or of numbers.
    position : sequence of int or None
        The plane of a stack, as an index along each dimension before rows and columns; None takes
        the plane that was segmented, or the first one.

    Returns
    -------
    LayerPixels
        What `slide_from_arrays` takes.

    Raises
    ------
    UserError
        If it cannot be converted to RGB for certain; the message names the layer and the reason.
    """
    arrays = layer.data if layer.multiscale else [layer.data]
    arrays = [one.whole if isinstance(one, Shown) else one for one in arrays]
    arrays = [one if isinstance(one, np.ndarray) else da.asarray(one) for one in arrays]
    if 0 in arrays[0].shape:
        raise UserError(f"{layer.name} is empty: choose another image.")
    if not layer.rgb and arrays[0].ndim > 2 and arrays[0].shape[-1] <= 4:
        raise UserError(
            f"{layer.name} has its channels in the last dimension, which napari shows as columns: "
            "add it with rgb=True, or grey without that dimension."
        )
    notes = []
    channels = None if layer.rgb else _channel_axis(layer, arrays[0])
    if channels is not None:
        notes.append("channel-first, shown as RGB")
    elif not layer.rgb:
        notes.append("grey, taken as RGB")
    elif arrays[0].shape[-1] == 4:
        notes.append("over white")
    across = [axis for axis in range(layer.ndim - 2) if axis != channels]
    if any(arrays[0].shape[axis] > 1 for axis in across):
        notes.append("the plane in view")
    place = position or layer.metadata.get("plane", ())
    if len(place) != layer.ndim - 2:
        place = (0,) * (layer.ndim - 2)
    levels = [_plane(one, arrays[0].shape, place, across, channels) for one in arrays]
    if levels[0].dtype == bool:
        notes.append("black and white")
    elif levels[0].dtype == np.uint16 and _range(levels, layer.name)[1] > 255:
        notes.append("16-bit")
    elif levels[0].dtype != np.uint8:
        levels, note = _as_bytes(levels, layer.name)
        notes.append(note)
    return LayerPixels(levels, ", ".join(notes))


def conversion(layer: Image) -> str:
    """Return how the pixels of a layer become RGB, empty for 8-bit RGB.

    Raises
    ------
    UserError
        If they cannot; the message names the layer and the reason.
    """
    pixels = layer_pixels(layer)
    array_as_rgb(as_dask(pixels.levels[-1]), layer.name)
    return pixels.conversion


def plane_in_view(viewer: ViewerModel, layer: Image) -> tuple[int, ...]:
    """Return the plane of a stack in the viewer, as an index along each dimension before it."""
    leading = layer.ndim - 2
    place = np.rint(layer.world_to_data(viewer.dims.point)[:leading]).astype(int)
    return tuple(np.clip(place, 0, layer.level_shapes[0][:leading] - 1).tolist())


def plane_shape(layer: Image | Labels) -> tuple[int, ...]:
    """Return rows and columns of the largest level of a layer."""
    return tuple(layer.level_shapes[0][: layer.ndim][-2:].tolist())


def windows(pixels: Any) -> list[NDArray[Any]]:
    """Return parts of an image that are spread over it, or all of a small one.

    Parameters
    ----------
    pixels : (H, W, ...) array of Any
        NumPy or dask array.

    Raises
    ------
    UserError
        If they cannot be read.
    """
    height, width = pixels.shape[:2]
    parts = [pixels]
    if height * width > _WHOLE:
        parts = [pixels[y, x] for y in _spread(height) for x in _spread(width)]
    try:
        return list(da.compute(*parts, scheduler="threads"))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"The image cannot be read ({error}): open it again.") from error


def _channel_axis(layer: Image, array: Any) -> int | None:
    """Return the dimension of red, green and blue (and opacity) before rows and columns."""
    leading = range(layer.ndim - 2)
    named = [axis for axis in leading if layer.axis_labels[axis].lower() in _CHANNELS]
    # napari's own names are numbers.
    unnamed = layer.ndim > 2 and layer.axis_labels[-3].removeprefix("axis ") == "-3"
    axis = named[0] if named else layer.ndim - 3 if unnamed else None
    if axis is None or array.shape[axis] == 3:
        return axis
    if array.shape[axis] != 4 or array.dtype not in (np.uint8, np.uint16):
        return None
    # Opaque everywhere: the fourth is no stain, and no plane of a stack.
    opacity = array[(0,) * axis + (3,) + (0,) * (layer.ndim - 3 - axis)]
    opaque = all((part == np.iinfo(part.dtype).max).all() for part in windows(opacity))
    return axis if opaque else None


def _plane(
    array: Any,
    full: Sequence[int],
    place: Sequence[int],
    across: Sequence[int],
    channels: int | None,
) -> Any:
    """Return a plane of one level, its channels last; `place` is counted in level 0, `full`."""
    index: list[int | slice] = [slice(None)] * array.ndim
    for axis in across:
        index[axis] = min(place[axis], full[axis] - 1) * array.shape[axis] // full[axis]
    plane = array[tuple(index)]
    return plane if channels is None else np.moveaxis(plane, 0, -1)


def _as_bytes(levels: list[Any], name: str) -> tuple[list[Any], str]:
    """Return numbers of other types as bytes, and what they were."""
    dtype = levels[0].dtype
    low, high = _range(levels, name)
    full = 1 if dtype.kind == "f" and high <= 1 + _ROUNDING else 255
    if not (low >= -_ROUNDING and high <= full + _ROUNDING):
        raise UserError(
            f"{name} has values from {low:g} to {high:g}: scale it to 0–255, or to 0–1, and add it "
            "again."
        )
    converted = [da.map_blocks(_bytes, as_dask(one), full, dtype=np.uint8) for one in levels]
    return converted, f"{'float' if dtype.kind == 'f' else dtype} 0–{full}"


def _range(levels: list[Any], name: str) -> tuple[float, float]:
    """Return the least and the greatest value of the smallest level."""
    if levels[0].dtype.kind not in "iuf":
        raise UserError(f"{name} has pixels of type {levels[0].dtype}: choose an image.")
    parts = windows(levels[-1])
    low, high = (
        float(min(np.min(part) for part in parts)),
        float(max(np.max(part) for part in parts)),
    )
    if not np.isfinite([low, high]).all():
        raise UserError(f"{name} has pixels without a value (NaN or infinite): fill them.")
    return low, high


def _bytes(pixels: NDArray[Any], full: int) -> NDArray[np.uint8]:
    scaled = pixels.astype(np.float64) * (255 / full)
    return np.clip(np.rint(np.nan_to_num(scaled, nan=255)), 0, 255).astype(np.uint8)


def _spread(length: int) -> list[slice]:
    starts = np.linspace(0, max(length - _WINDOW, 0), _WINDOWS).astype(int)
    return [slice(start, start + _WINDOW) for start in np.unique(starts).tolist()]
