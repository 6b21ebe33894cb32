"""Conversion of pixels to 8-bit RGB; formats that cannot be converted are refused by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.errors import UserError

# Tissue on white glass fills the range of its pixels. 16-bit values that stay below this come from
# a camera with an unknown number of bits.
_DIM = 2**14


class _InPlace:
    """An array that dask does not recognise as NumPy's, and therefore does not copy."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return self._array[index]


def read_in_place(array: NDArray[Any], chunks: tuple[int, ...]) -> da.Array:
    """Return a dask array that reads a NumPy array without a copy.

    `dask.array.from_array` would copy it, and a memory-mapped file into memory.

    Parameters
    ----------
    array : ndarray of Any
        In memory or memory-mapped.
    chunks : tuple of int
        Chunk size along each axis.

    Returns
    -------
    dask.array.Array
        Of the same shape and dtype.
    """
    meta = np.empty((0,) * array.ndim, array.dtype)
    return da.from_array(_InPlace(array), chunks=chunks, name=False, asarray=True, meta=meta)


class _WhenNeeded:
    """An image of which a function reads what dask asks for."""

    def __init__(
        self, read: Callable[[range, range], NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self._read, self.shape, self.dtype, self.ndim = read, shape, dtype, len(shape)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        rows, columns = (
            range(length)[one if isinstance(one, slice) else slice(one, one + 1)]
            for one, length in zip(index[:2], self.shape, strict=False)
        )
        pixels = self._read(range(rows.start, rows.stop), range(columns.start, columns.stop))
        steps = (
            slice(None, None, axis.step) if isinstance(one, slice) else 0
            for one, axis in zip(index, (rows, columns), strict=False)
        )
        return pixels[(*steps, *index[2:])]


def read_when_needed(
    read: Callable[[range, range], NDArray[Any]],
    shape: tuple[int, ...],
    chunks: tuple[int, int],
    dtype: np.dtype | type = np.uint8,
) -> da.Array:
    """Return a dask array of which a function reads the parts that are computed.

    Parameters
    ----------
    read : callable
        Gets rows and columns, and returns their pixels; called by several threads at a time.
    shape : tuple of int
        (H, W) or (H, W, C).
    chunks : tuple of 2 int
        Height and width of a chunk, which has all channels.
    dtype : np.dtype or type
        That of the pixels.

    Returns
    -------
    dask.array.Array
        Of that shape and dtype.
    """
    return da.from_array(
        _WhenNeeded(read, shape, np.dtype(dtype)),
        chunks=(*chunks, *shape[2:]),
        name=False,
        asarray=True,  # and fancy indexing, without which dask reads whole chunks
        meta=np.empty((0,) * len(shape), dtype),
    )


@dataclass(frozen=True)
class PixelFormat:
    """Meaning of the samples of a pixel.

    Attributes
    ----------
    bits : int
        Significant bits of a sample: ``2**bits - 1`` is full intensity.
    inverted : bool
        Whether 0 is white.
    palette : (2**bits, 3) ndarray of uint8 or None
        Colours of which the samples are indices.
    ycbcr : bool
        Whether the three samples are luma and chroma (full range, ITU-R BT.601, as in JPEG).
    alpha : {"straight", "premultiplied"} or None
        Opacity in the sample after the colour, and whether the colour is already multiplied by it.
    """

    bits: int = 8
    inverted: bool = False
    palette: NDArray[np.uint8] | None = None
    ycbcr: bool = False
    alpha: Literal["straight", "premultiplied"] | None = None

    @property
    def white(self) -> int:
        """Sample value with which pixels that were never scanned are filled.

        In YCbCr it is that of full intensity in all three samples, which no RGB colour has;
        `as_rgb` makes it white.
        """
        if self.palette is not None:
            return int(self.palette.sum(axis=1, dtype=int).argmax())
        return 0 if self.inverted else 2**self.bits - 1


def array_format(pixels: da.Array, name: str) -> PixelFormat:
    """Return the pixel format of an array without metadata.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 2 to 4) dask.array.Array
        Grey, grey and opacity, RGB, or RGB and opacity.
    name : str
        Name of the image, for the message.

    Returns
    -------
    PixelFormat
        By dtype and number of samples.

    Raises
    ------
    UserError
        If the pixels are neither boolean nor 8- or 16-bit unsigned integers.
    """
    bits = sample_bits(pixels.dtype, name)
    has_alpha = pixels.ndim == 3 and pixels.shape[2] in (2, 4)
    return PixelFormat(bits=bits, alpha="straight" if has_alpha else None)


def sample_bits(dtype: np.dtype, name: str) -> int:
    """Return the number of bits of a sample.

    Parameters
    ----------
    dtype : np.dtype
        Type of the samples.
    name : str
        Name of the image, for the message.

    Returns
    -------
    int
        1, 8 or 16.

    Raises
    ------
    UserError
        If the samples are neither boolean nor 8- or 16-bit unsigned integers.
    """
    if dtype.kind == "b":
        return 1
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return 8 * dtype.itemsize
    raise UserError(f"{name} has pixels of type {dtype}: save it as 8-bit RGB")


def as_rgb(pixels: da.Array, format: PixelFormat) -> da.Array:
    """Return the image as lazily converted RGB.

    Parameters
    ----------
    pixels : (H, W) or (H, W, S) dask.array.Array
        S samples; those after colour and opacity are dropped.
    format : PixelFormat
        Meaning of the samples.

    Returns
    -------
    (H, W, 3) dask.array.Array of uint8
        RGB.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    pixels = pixels.rechunk({2: -1})
    is_rgb = format.palette is None and format == PixelFormat() and pixels.shape[2] == 3
    if is_rgb and pixels.dtype == np.uint8:
        return pixels
    table = _table(format)
    return da.map_blocks(
        _convert,
        pixels,
        format,
        table,
        chunks=(*pixels.chunks[:2], (3,)),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )


def _table(format: PixelFormat) -> NDArray[np.uint8]:
    """Return the 8-bit value, or colour, of every sample value."""
    if format.palette is not None:
        return format.palette
    table = np.rint(np.linspace(0, 255, 2**format.bits)).astype(np.uint8)
    return table[::-1] if format.inverted else table


def _convert(
    pixels: NDArray[np.generic], format: PixelFormat, table: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    if format.palette is not None:
        return table[pixels[..., 0]]
    samples = table[pixels.astype(np.uint16, copy=False)]
    colors = 3 if samples.shape[2] >= 3 else 1
    color = samples[..., :colors]
    if format.alpha is not None:
        color = _over_white(color, samples[..., colors : colors + 1], format.alpha)
    if format.ycbcr:
        image = Image.fromarray(np.ascontiguousarray(color), "YCbCr")
        missing = (color == 255).all(axis=2, keepdims=True)
        return np.where(missing, np.uint8(255), np.asarray(image.convert("RGB")))
    return np.ascontiguousarray(np.broadcast_to(color, (*color.shape[:2], 3)))


def _over_white(
    color: NDArray[np.uint8], alpha: NDArray[np.uint8], mode: Literal["straight", "premultiplied"]
) -> NDArray[np.uint8]:
    opacity = alpha.astype(np.uint32)
    light = (color * opacity + 127) // 255 if mode == "straight" else color.astype(np.uint32)
    return np.minimum(light + 255 - opacity, 255).astype(np.uint8)


def check_range(pixels: da.Array, format: PixelFormat, name: str) -> None:
    """Refuse 16-bit pixels whose range is unknown.

    Parameters
    ----------
    pixels : (H, W) or (H, W, S) dask.array.Array
        S samples; the centre of the image is read.
    format : PixelFormat
        Meaning of the samples.
    name : str
        Name of the image, for the message.

    Raises
    ------
    UserError
        If 16-bit values use less than a quarter of their range.
    """
    if format.bits != 16 or format.inverted:
        return
    rows, columns = (
        slice(max(size // 2 - 512, 0), size // 2 + 512 + 1) for size in pixels.shape[:2]
    )
    colors = pixels[rows, columns] if format.alpha is None else pixels[rows, columns, :-1]
    brightest = int(colors.max().compute(scheduler="threads"))
    if brightest < _DIM:
        raise UserError(
            f"{name} has 16-bit pixels that reach only {brightest} of 65535: save it as 8-bit RGB"
        )
