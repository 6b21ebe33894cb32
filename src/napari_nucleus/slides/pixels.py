"""Pixels of any kind as 8-bit RGB: converted to what they mean, or refused by name."""

from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.errors import UserError

# Tissue on white glass fills the range of its pixels. 16-bit values that stay below this come from
# a camera with fewer bits, and how many there were is written nowhere.
_DIM = 2**14


class _InPlace:
    """An array without what makes dask take it for NumPy's."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self._array[index]


def read_in_place(array: NDArray[Any], chunks: tuple[int, ...]) -> da.Array:
    """Return a dask array that reads from a NumPy array where it lies.

    `dask.array.from_array` would copy it, and a memory-mapped file into memory.

    Parameters
    ----------
    array : ndarray of Any
        In memory or memory-mapped.
    chunks : tuple of int
        Size of what dask reads at a time.
    """
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(_InPlace(array), chunks=chunks, name=False, asarray=True, meta=meta)


@dataclass(frozen=True)
class PixelKind:
    """What the samples of a pixel mean.

    Attributes
    ----------
    bits : int
        Significant bits of a sample: ``2**bits - 1`` is full intensity.
    inverted : bool
        Whether 0 is white.
    palette : ndarray of uint8 or None
        Colours (2**bits, 3), uint8, that the samples are indices of.
    ycbcr : bool
        Whether the three samples are luma and chroma (full range, ITU-R BT.601, as in JPEG).
    alpha : {"straight", "premultiplied"} or None
        Whether the sample after the colour is opacity, and whether the colour is already
        multiplied by it.
    """

    bits: int = 8
    inverted: bool = False
    palette: NDArray[np.uint8] | None = None
    ycbcr: bool = False
    alpha: Literal["straight", "premultiplied"] | None = None

    @property
    def white(self) -> int:
        """Sample value of full intensity, which is white except in a palette."""
        return 0 if self.inverted else 2**self.bits - 1


def array_kind(pixels: da.Array, name: str) -> PixelKind:
    """Return what the samples of an array mean that comes with no metadata.

    Parameters
    ----------
    pixels : da.Array
        Array (H, W) of grey, or (H, W, 2 to 4) of grey and opacity, RGB, or RGB and opacity.
    name : str
        Name of the image, for the message.

    Raises
    ------
    UserError
        If the pixels are neither boolean nor 8- or 16-bit unsigned integers.
    """
    bits = sample_bits(pixels.dtype, name)
    has_alpha = pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    return PixelKind(bits=bits, alpha="straight" if has_alpha else None)


def sample_bits(dtype: np.dtype, name: str) -> int:
    """Return how many bits samples of a type have.

    Parameters
    ----------
    dtype : np.dtype
        Type of the samples.
    name : str
        Name of the image, for the message.

    Raises
    ------
    UserError
        If they are neither boolean nor 8- or 16-bit unsigned integers.
    """
    if dtype.kind == "b":
        return 1
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return 8 * dtype.itemsize
    raise UserError(f"{name} has pixels of type {dtype}: save it as 8-bit RGB")


def as_rgb(pixels: da.Array, kind: PixelKind) -> da.Array:
    """Return the image as lazily converted RGB.

    Parameters
    ----------
    pixels : da.Array
        Array (H, W) or (H, W, samples); samples after colour and opacity are dropped.
    kind : PixelKind
        What the samples mean.

    Returns
    -------
    dask.array.Array
        Array (H, W, 3), uint8.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    pixels = pixels.rechunk({2: -1})
    is_rgb = kind.palette is None and kind == PixelKind() and pixels.shape[2] == 3
    if is_rgb and pixels.dtype == np.uint8:
        return pixels
    table = _table(kind)
    return da.map_blocks(
        _convert,
        pixels,
        kind,
        table,
        chunks=(*pixels.chunks[:2], (3,)),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )


def _table(kind: PixelKind) -> NDArray[np.uint8]:
    """Return the 8-bit value, or colour, of every sample value."""
    if kind.palette is not None:
        return kind.palette
    table = np.rint(np.linspace(0, 255, 2**kind.bits)).astype(np.uint8)
    return table[::-1] if kind.inverted else table


def _convert(
    pixels: NDArray[np.generic], kind: PixelKind, table: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    if kind.palette is not None:
        return table[pixels[..., 0]]
    samples = table[pixels.astype(np.uint16, copy=False)]
    colors = 3 if samples.shape[2] >= 3 else 1
    color = samples[..., :colors]
    if kind.alpha is not None:
        color = _over_white(color, samples[..., colors : colors + 1], kind.alpha)
    if kind.ycbcr:
        image = Image.fromarray(np.ascontiguousarray(color), "YCbCr")
        return np.asarray(image.convert("RGB"))
    return np.ascontiguousarray(np.broadcast_to(color, (*color.shape[:2], 3)))


def _over_white(
    color: NDArray[np.uint8], alpha: NDArray[np.uint8], mode: Literal["straight", "premultiplied"]
) -> NDArray[np.uint8]:
    opacity = alpha.astype(np.uint32)
    light = (color * opacity + 127) // 255 if mode == "straight" else color.astype(np.uint32)
    return np.minimum(light + 255 - opacity, 255).astype(np.uint8)


def check_range(pixels: da.Array, kind: PixelKind, name: str) -> None:
    """Refuse 16-bit pixels whose true range is unknown.

    Parameters
    ----------
    pixels : da.Array
        Array (H, W) or (H, W, samples); its centre is read.
    kind : PixelKind
        What the samples mean.
    name : str
        Name of the image, for the message.

    Raises
    ------
    UserError
        If 16-bit values use less than a quarter of their range.
    """
    if kind.bits != 16 or kind.inverted:
        return
    rows, columns = (
        slice(max(size // 2 - 512, 0), size // 2 + 512 + 1) for size in pixels.shape[:2]
    )
    colors = pixels[rows, columns] if kind.alpha is None else pixels[rows, columns, :-1]
    brightest = int(colors.max().compute(scheduler="threads"))
    if brightest < _DIM:
        raise UserError(
            f"{name} has 16-bit pixels that reach only {brightest} of 65535: save it as 8-bit RGB"
        )
