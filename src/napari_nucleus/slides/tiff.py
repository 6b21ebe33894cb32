"""TIFF and its variants (OME-TIFF, SVS, NDPI): stored levels, read lazily, and µm/px."""

import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import zarr
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from napari_nucleus.errors import UserError
from napari_nucleus.slides.pixels import (
    PixelFormat,
    as_rgb,
    check_range,
    read_in_place,
    sample_bits,
)

# Warnings of a damaged file would go to the terminal, before the one line that says what to do.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Names of images that scanners store beside the tissue.
_ASIDE = re.compile(r"\b(label|macro|map|overview|thumbnail)\b", re.IGNORECASE)

# Side of a dask chunk in pixels: small enough to waste little on a small read, large enough that a
# slide has few.
_CHUNK = 1024

# Most samples of a strip or tile, which is decoded as a whole.
_LARGEST_SEGMENT = 3 * 2**28

_GREY = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK}
_COLOR = {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}

# Range of µm/px of a microscope. 72 or 96 dots per inch, which programs write by default, would be
# 353 or 265.
_PLAUSIBLE = 0.05, 10.0

_MICROMETRES = {
    "nm": 1e-3,
    "\N{MICRO SIGN}m": 1.0,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "\\u00B5m": 1.0,  # as ImageJ writes it
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "inch": 25400.0,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}


def read_tiff(path: Path) -> tuple[list[da.Array], float | None]:
    """Return the stored levels of the tissue image and its µm/px.

    Of several images in the file, this is the largest one in colour that is not named label,
    macro, map, overview or thumbnail.

    Parameters
    ----------
    path : Path
        A TIFF file of any variant that tifffile reads.

    Returns
    -------
    levels : list of (H, W, 3) dask.array.Array of uint8
        RGB, largest first, read when computed.
    mpp : float or None
        µm per pixel of the largest level, None if the file has none that is plausible.

    Raises
    ------
    UserError
        If the file is damaged or truncated, or its image is not one plane of colour or grey.
    """
    try:
        with ExitStack() as on_error:
            tif = on_error.enter_context(TiffFile(path))
            if not tif.series:
                raise UserError(
                    f"{path.name} is damaged or truncated (no image in it): copy or export it again"
                )
            series = _tissue(tif)
            levels = [
                _read_level(level, path.name)
                for level in sorted(series.levels, key=_area, reverse=True)
            ]
            mpp = next((size for size in _pixel_sizes(tif, series) if is_plausible(size)), None)
            on_error.pop_all()  # the levels are read from the open file
        return levels, mpp
    except (UserError, MemoryError):
        raise
    except Exception as error:  # tifffile raises many kinds for damaged files
        raise UserError(
            f"{path.name} is damaged, truncated or not supported ({error}): save it again as TIFF"
        ) from error


def _tissue(tif: TiffFile) -> TiffPageSeries:
    series = [one for one in tif.series if not _ASIDE.search(one.name)] or tif.series
    return max(series, key=lambda one: (one.keyframe.samplesperpixel >= 3, _area(one)))


def _area(series: TiffPageSeries) -> int:
    return series.keyframe.imagewidth * series.keyframe.imagelength


def _read_level(series: TiffPageSeries, name: str) -> da.Array:
    page = series.pages[0]
    if series.size != series.keyframe.size or series.keyframe.imagedepth > 1:
        if "C" in series.axes:
            raise UserError(
                f"{name} has separate channels, as fluorescence has: save it as RGB "
                "(in raw2ometiff, --rgb)"
            )
        raise UserError(f"{name} is a stack ({series.axes}): save one plane of it as RGB")
    assert page is not None  # only where one of many files is missing
    format = _pixel_format(series.keyframe, name)
    _check_complete(page, name)
    pixels = _stored_pixels(page, format)
    if page.axes[0] == "S":  # planar: one plane for each sample
        pixels = da.moveaxis(pixels, 0, -1)
    check_range(pixels, format, name)
    rgb = as_rgb(pixels, format)
    if rgb.npartitions == 1:  # decoded once, not at every read
        return read_in_place(rgb.compute(scheduler="threads"), (_CHUNK, _CHUNK, 3))
    # Pixels that cannot be decoded are reported now, not in the middle of the work.
    height, width = rgb.shape[:2]
    rgb[height // 2, width // 2].compute(scheduler="threads")
    return rgb


def _pixel_format(page: TiffPage, name: str) -> PixelFormat:
    """Return the pixel format, or refuse it by name."""
    if page.dtype is None or isinstance(page.bitspersample, tuple):
        raise UserError(f"{name} has pixels of an unsupported type: save it as 8-bit RGB")
    if page.samplesperpixel > 2 and page.photometric in _GREY:
        raise UserError(
            f"{name} has {page.samplesperpixel} grey channels, as fluorescence has: save it as RGB"
        )
    palette = None
    if page.photometric == PHOTOMETRIC.PALETTE:
        assert page.colormap is not None
        # 16 bits by the standard, in whose low byte programs differ; some write 8.
        palette = (page.colormap.T >> (8 if page.colormap.max() > 255 else 0)).astype(np.uint8)
    elif page.photometric == PHOTOMETRIC.SEPARATED:
        raise UserError(f"{name} is CMYK: save it as RGB")
    elif page.photometric not in _GREY | _COLOR:
        color_space = PHOTOMETRIC(page.photometric).name
        raise UserError(f"{name} has pixels in {color_space}: save it as RGB")
    # Image codecs return RGB; other codecs, and Aperio's JPEG 2000, return the stored YCbCr.
    ycbcr = page.compression == COMPRESSION.APERIO_JP2000_YCBC or (
        page.photometric == PHOTOMETRIC.YCBCR and page.compression not in TIFF.IMAGE_COMPRESSIONS
    )
    alphas: dict[int, Literal["straight", "premultiplied"]] = {1: "premultiplied", 2: "straight"}
    return PixelFormat(
        bits=min(page.bitspersample, sample_bits(page.dtype, name)),
        inverted=page.photometric == PHOTOMETRIC.MINISWHITE,
        palette=palette,
        ycbcr=ycbcr,
        alpha=alphas.get(page.extrasamples[0]) if page.extrasamples else None,
    )


def _check_complete(page: TiffPage | TiffFrame, name: str) -> None:
    """Refuse a page that ends beyond the end of the file, or is too large to decode."""
    end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    if end > page.parent.filehandle.size:
        raise UserError(f"{name} is truncated: copy or export it again")
    if not page.is_memmappable and math.prod(page.chunks) > _LARGEST_SEGMENT:
        raise UserError(
            f"{name} is compressed in one piece that is too large to read: save it tiled"
        )


def _stored_pixels(page: TiffPage | TiffFrame, format: PixelFormat) -> da.Array:
    """Return the samples as stored, with the page's axes."""
    if page.is_memmappable:
        mapped = np.memmap(
            page.parent.filehandle.path,
            dtype=np.dtype(page.dtype).newbyteorder(page.parent.byteorder),
            mode="r",
            offset=page.dataoffsets[0],
            shape=page.shape,
        )
        sizes = dict(zip(page.axes, page.shape, strict=True), X=_CHUNK, Y=_CHUNK)
        return read_in_place(mapped, tuple(sizes.values()))
    # Tiles that were never scanned, as slides have, are white.
    store = page.aszarr(fillvalue=format.white, maxworkers=os.cpu_count())
    segments = zarr.open_array(store, mode="r")
    sizes = dict(zip(page.axes, segments.chunks, strict=True))
    columns = sizes["X"] * max(round(_CHUNK / sizes["X"]), 1)
    rows = sizes["Y"] * max(round(_CHUNK**2 / (columns * sizes["Y"])), 1)
    sizes |= {"X": columns, "Y": rows}
    return da.from_array(segments, chunks=tuple(sizes.values()), name=False)


def is_plausible(mpp: float) -> bool:
    """Return whether a µm/px is of a microscope, not of a printer's resolution.

    Parameters
    ----------
    mpp : float
        µm per pixel.

    Returns
    -------
    bool
        Whether it is between 0.05 and 10.

    Examples
    --------
    >>> is_plausible(0.25), is_plausible(25400 / 72)
    (True, False)
    """
    return _PLAUSIBLE[0] <= mpp <= _PLAUSIBLE[1]


def _pixel_sizes(tif: TiffFile, series: TiffPageSeries) -> Iterator[float]:
    """Yield the µm/px of the metadata, the most reliable first."""
    page = series.keyframe
    if found := re.match(r"Aperio .*\bMPP *= *(\d*\.?\d+)", page.description, re.DOTALL):
        yield float(found[1])
    if tif.ome_metadata:
        yield from _ome_pixel_sizes(tif.ome_metadata, page)
    unit = _RESOLUTION_UNITS.get(page.resolutionunit)
    if tif.imagej_metadata:
        unit = tif.imagej_metadata.get("unit", unit)
    if unit in _MICROMETRES:
        x, y = page.get_resolution()
        if x > 0 and y > 0:
            yield from _square(_MICROMETRES[unit] / x, _MICROMETRES[unit] / y)


def _ome_pixel_sizes(xml: str, page: TiffPage) -> Iterator[float]:
    size = str(page.imagewidth), str(page.imagelength)
    for pixels in ElementTree.fromstring(xml).iterfind(".//{*}Pixels"):
        x, y = (
            _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "um"), math.nan)
            * float(pixels.get(f"PhysicalSize{axis}", "nan"))
            for axis in "XY"
        )
        if (pixels.get("SizeX"), pixels.get("SizeY")) == size:
            yield from _square(x, y)


def _square(x: float, y: float) -> Iterator[float]:
    """Yield the size of a pixel that is about square."""
    if math.isclose(x, y, rel_tol=0.02):
        yield math.sqrt(x * y)
