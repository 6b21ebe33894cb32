"""TIFF and its variants (OME-TIFF, SVS, NDPI): stored levels, read lazily, and pixel size."""

import itertools
import logging
import math
import re
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries

from napari_nucleus.errors import UserError
from napari_nucleus.measure.stain import WHITE
from napari_nucleus.slides.pixel_size import stored_size
from napari_nucleus.slides.pixels import (
    PixelFormat,
    as_rgb,
    check_range,
    read_in_place,
    sample_bits,
)
from napari_nucleus.slides.stored import StoredImage, choose_scene

# Warnings of a damaged file would go to the terminal, before the one line that says what to do.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Names of images that scanners store beside the tissue.
_ASIDE = re.compile(r"\b(label|macro|map|overview|thumbnail)\b", re.IGNORECASE)

# Programs whose metadata lay out the images of a file for tifffile.
_PROGRAMS = "imagej", "ome", "philips", "scn", "shaped"

# Side of a dask chunk in pixels: small enough to waste little on a small read, large enough that a
# slide has few.
_CHUNK = 1024

# Most samples of a strip or tile, which is decoded as a whole.
_LARGEST_SEGMENT = 3 * 2**28

_GREY = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK}
_DIMMEST = 128
"""A white point below this is none: glass is bright."""

_COLOR = {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}


def read_tiff(path: Path, scene: int | str | None = None) -> StoredImage:
    """Return the stored levels of the tissue image.

    Of several images in the file, this is the largest one in colour that is not named label,
    macro, map, overview or thumbnail.

    Parameters
    ----------
    path : Path
        A TIFF file of any variant that tifffile reads.
    scene : int or str or None
        Another image of an OME-TIFF.

    Returns
    -------
    StoredImage
        Its white is that of the tag ReferenceBlackWhite of an 8-bit RGB image, else 255.

    Raises
    ------
    UserError
        If the file is truncated, its image is not one plane of colour or grey, or there is no such
        image.
    Exception
        If it is damaged: tifffile raises many kinds.
    """
    with _opened(path) as tif:
        series = [one for one in tif.series if not _ASIDE.search(one.name)] or list(tif.series)
        if not series:
            raise ValueError("no image in it")
        tissue = max(series, key=lambda one: (one.keyframe.samplesperpixel >= 3, _area(one)))
        if not tif.is_ome:  # else they may be levels that no metadata tell to be of one image
            series = [tissue]
        names = [one.name for one in series]
        scenes = choose_scene(path.name, names, scene, series.index(tissue))
        chosen = series[scenes.chosen]
        levels = sorted(chosen.levels, key=_area, reverse=True)
        return StoredImage(
            [_read_level(level, path.name) for level in levels],
            stored_size(tif, chosen.keyframe),
            _white_point(chosen.keyframe),
            chosen.keyframe.tags.valueof("InterColorProfile"),
            scenes,
        )


def _white_point(page: TiffPage) -> tuple[int, int, int]:
    """Return the values of reference white, of which a damaged or odd tag costs nothing else."""
    tag = page.tags.get("ReferenceBlackWhite")
    if tag is None or page.photometric != PHOTOMETRIC.RGB or page.bitspersample != 8:
        return WHITE
    try:
        pairs = np.asarray(tag.value, int).reshape(6, 2)[1::2].tolist()
        red, green, blue = (round(value / unit) for value, unit in pairs)
    except (ValueError, ZeroDivisionError):
        return WHITE
    if not _DIMMEST <= min(red, green, blue) <= max(red, green, blue) <= WHITE[0]:
        return WHITE
    return red, green, blue


def _opened(path: Path) -> TiffFile:
    """Open a file, as a plain TIFF where tifffile cannot make sense of a program's metadata."""
    tif = TiffFile(path)
    try:
        len(tif.series)  # parsed at the first use
    except Exception:  # many kinds; a file that is damaged otherwise fails again
        tif.close()
        plain: dict[str, Any] = {f"is_{program}": False for program in _PROGRAMS}
        tif = TiffFile(path, **plain)
    return tif


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
    segments = _Segments(page, format.white)
    sizes = dict(zip(page.axes, segments.chunks, strict=True))
    columns = sizes["X"] * max(round(_CHUNK / sizes["X"]), 1)
    rows = sizes["Y"] * max(round(_CHUNK**2 / (columns * sizes["Y"])), 1)
    sizes |= {"X": columns, "Y": rows}
    meta = np.empty((0,) * segments.ndim, segments.dtype)
    chunks = tuple(sizes.values())
    # With fancy indexing, without which dask reads whole chunks; only slices arrive.
    return da.from_array(segments, chunks, name=False, asarray=True, meta=meta)


class _Segments:
    """Strips or tiles of a page, decoded where they are read.

    tifffile's own Zarr stores fit certain versions of Zarr only.
    """

    def __init__(self, page: TiffPage | TiffFrame, white: int) -> None:
        keyframe = page.keyframe
        assert keyframe is not None  # only an empty frame has none
        self.shape, self.ndim, self.dtype = page.shape, page.ndim, np.dtype(page.dtype)
        self.chunks = (1,) * (page.ndim - len(page.chunks)) + page.chunks  # a plane per sample
        self._axes, self._grid, self._white = page.axes, page.chunked, white
        self._path = page.parent.filehandle.path
        self._stored = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        self._decode = keyframe.decode
        options = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        self._options = {key: value for key, value in options.items() if value is not None}

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        slices = [i if isinstance(i, slice) else slice(i, i + 1) for i in index]
        bounds = [axis.indices(size)[:2] for axis, size in zip(slices, self.shape, strict=True)]
        out = np.full([stop - start for start, stop in bounds], self._white, self.dtype)
        touched = (
            range(start // chunk, -(-stop // chunk))
            for (start, stop), chunk in zip(bounds, self.chunks, strict=True)
        )
        with open(self._path, "rb") as file:
            for position in itertools.product(*touched):
                number = int(np.ravel_multi_index(position, self._grid))
                offset, size = self._stored[number]
                if size == 0:  # never scanned, and white
                    continue
                file.seek(offset)
                segment = self._segment(file.read(size), number)
                target, source = [], []
                for axis, (start, stop) in enumerate(bounds):
                    corner = position[axis] * self.chunks[axis]
                    first, last = max(start, corner), min(stop, corner + segment.shape[axis])
                    target.append(slice(first - start, last - start))
                    source.append(slice(first - corner, last - corner))
                out[tuple(target)] = segment[tuple(source)]
        return out[tuple(slice(None, None, i.step) if isinstance(i, slice) else 0 for i in index)]

    def _segment(self, data: bytes, number: int) -> np.ndarray:
        """Decode a strip or tile, with the axes of the page."""
        volume = self._decode(data, number, **self._options)[0]
        assert volume is not None  # only for missing data
        segment = volume[0]
        if "S" not in self._axes:
            return segment[..., 0]
        return np.moveaxis(segment, -1, 0) if self._axes[0] == "S" else segment
