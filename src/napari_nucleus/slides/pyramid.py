"""Pyramids: arrays as levels of RGB, and coarser levels computed from them."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from PIL import Image

from napari_nucleus.slides.overview import SMALL, Overview
from napari_nucleus.slides.pixels import array_format, as_rgb, check_range, read_in_place


def as_dask(array: Any) -> da.Array:
    """Return an array as a dask array, without copying it.

    Parameters
    ----------
    array : Any
        NumPy or dask array, or another that dask can wrap.

    Returns
    -------
    dask.array.Array
        Of the same shape and dtype.
    """
    if isinstance(array, np.ndarray):
        return read_in_place(array, (SMALL, SMALL, *array.shape[2:]))
    return da.asarray(array)


def array_as_rgb(array: da.Array, name: str) -> da.Array:
    """Return an array that comes with no metadata as RGB.

    Parameters
    ----------
    array : (H, W) or (H, W, 2 to 4) dask.array.Array
        Grey, grey and opacity, RGB, or RGB and opacity.
    name : str
        Name of the image, for the message.

    Returns
    -------
    (H, W, 3) dask.array.Array of uint8
        RGB, converted when computed.

    Raises
    ------
    UserError
        If the pixels cannot be converted for certain.
    """
    format = array_format(array, name)
    check_range(array, format, name)
    return as_rgb(array, format)


def with_coarser(levels: Sequence[da.Array]) -> tuple[tuple[da.Array, ...], Overview | None]:
    """Add levels, each half the size of the one before, until one is small.

    Parameters
    ----------
    levels : sequence of (H, W, 3) dask.array.Array of uint8
        RGB, largest first.

    Returns
    -------
    levels : tuple of (H, W, 3) dask.array.Array of uint8
        These and the added ones.
    overview : Overview or None
        What the last of the added ones are of, None if none is added. Levels between, which are too
        large to be kept, are computed where they are read.
    """
    pyramid = list(levels)
    if max(pyramid[-1].shape) <= SMALL:
        return tuple(pyramid), None
    overview = Overview(pyramid[-1])
    for _ in range(overview.factor.bit_length() - 2):
        pyramid.append(_halved(pyramid[-1]))
    return (*pyramid, *overview.levels), overview


def _halved(level: da.Array) -> da.Array:
    """Return the means of 2 × 2 pixels, computed when read; at an odd edge, of fewer."""
    if any(size % 2 for axis in level.chunks[:2] for size in axis[:-1]):
        level = level.rechunk((SMALL, SMALL, 3))
    chunks = [tuple((size + 1) // 2 for size in axis) for axis in level.chunks[:2]]
    return da.map_blocks(
        lambda block: np.asarray(Image.fromarray(block).reduce(2)),
        level,
        chunks=(*chunks, (3,)),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )
