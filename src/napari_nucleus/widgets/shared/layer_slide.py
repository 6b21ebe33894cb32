"""The slide that an image layer shows, whichever way the layer was made."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari.layers import Image

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays
from napari_nucleus.slides.pixel_size import PixelSize
from napari_nucleus.widgets.shared.layer_pixels import layer_pixels, plane_shape, windows


def layer_mpp(layer: Image) -> float | None:
    """Return the µm per pixel of a layer, None where it is unknown."""
    size = layer_size(layer)
    return None if size is None else size.mpp


def layer_size(layer: Image) -> PixelSize | None:
    """Return the size of a layer's pixels: by its scale, or else that of its file.

    Parameters
    ----------
    layer : Image
        The layer. The file counts only if it has as many pixels, and the scale only if its unit is
        a length.

    Returns
    -------
    PixelSize or None
        None where it is unknown or not plausible.
    """
    y, x = (
        abs(float((size * (1 * unit)).to("um").magnitude)) if unit.is_compatible_with("um") else 0
        for size, unit in zip(layer.scale[-2:], layer.units[-2:], strict=True)
    )
    if x and y:
        size = PixelSize(x, y)
        return size if size.is_plausible else None
    file = _file_of(layer)
    return file.size if file is not None and file.shape == plane_shape(layer) else None


def layer_slide(layer: Image, mpp: float | None, position: Sequence[int] | None = None) -> Slide:
    """Return the pixels of a layer as a slide.

    Parameters
    ----------
    layer : Image
        The layer. Where its pixels are those of the file that it was read from, the slide has the
        name and the path of the file; where they were cropped or changed since, its own name.
    mpp : float or None
        µm per pixel.
    position : sequence of int or None
        The plane of a stack (`layer_pixels`).

    Raises
    ------
    UserError
        If they cannot be converted to RGB for certain, or `mpp` is not plausible.
    """
    size = layer_size(layer) if mpp is None else None
    slide = slide_from_arrays(layer_pixels(layer, position).levels, mpp, layer.name, size=size)
    file = _file_of(layer)
    if file is None or file.path is None or not _is_same(slide, file):
        return slide
    shown = {name: getattr(slide, name) for name in ("mpp", "levels", "size", "overview")}
    return replace(file, **shown)


def _file_of(layer: Image) -> Slide | None:
    """Return the file that a layer was read from, None if it cannot be read any more."""
    path = layer.metadata.get("path") or layer.source.path
    if not path or not Path(path).exists():
        return None
    opened = {name: layer.metadata[name] for name in ("scene", "srgb") if name in layer.metadata}
    try:
        return open_slide(path, **opened)
    except UserError:  # another reader can read it, but nobody can compare it
        return None


def _is_same(one: Slide, other: Slide) -> bool:
    """Tell whether two slides have the same pixels, by a sample that is spread over them."""
    if one.shape != other.shape:
        return False
    pairs = zip(windows(one.levels[0]), windows(other.levels[0]), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)
