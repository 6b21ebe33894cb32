"""Slides: an image as a pyramid of lazily read levels with its µm/px."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.measure.stain import WHITE
from napari_nucleus.slides.digest import SAMPLED, file_digest, sampled_digest
from napari_nucleus.slides.overview import SMALL, Overview
from napari_nucleus.slides.pixel_size import PixelSize, check_mpp
from napari_nucleus.slides.pyramid import array_as_rgb, as_dask, with_coarser
from napari_nucleus.slides.stored import Scenes

# Bytes up to which all pixels of an image without a file count for its digest; of a larger one,
# this many squares in a row and in a column, and their side.
_WHOLE_PIXELS = 2**30
_SAMPLES = 16
_SAMPLE = 64


@dataclass(frozen=True, eq=False)
class Slide:
    """An image of tissue as a pyramid.

    Attributes
    ----------
    name : str
        File name without suffix, or the name of the layer.
    path : Path or None
        File or folder that it is read from, None for arrays.
    mpp : float or None
        µm per level-0 pixel, None if unknown.
    levels : tuple of (H, W, 3) dask.array.Array of uint8
        RGB, largest first, read when computed.
    size : PixelSize or None
        Pixel size in the file, which has no `mpp` if it is not square.
    white : tuple of 3 int
        Red, green and blue of light that passes no tissue, as far as the file tells.
    overview : Overview or None
        What the coarsest levels are of if the file has none so small.
    scenes : Scenes
        Which image of the file it is.
    profile : bytes or None
        ICC profile of the colours in the file.
    srgb : bool
        Whether the colours were converted to sRGB by it.
    fingerprint : callable or None
        Returns what identifies an image that lies in several files.

    Raises
    ------
    UserError
        If `mpp` is not plausible.
    """

    name: str
    path: Path | None
    mpp: float | None
    levels: tuple[da.Array, ...]
    size: PixelSize | None = None
    white: tuple[int, int, int] = WHITE
    overview: Overview | None = field(default=None, repr=False)
    scenes: Scenes = field(default_factory=Scenes)
    profile: bytes | None = field(default=None, repr=False)
    srgb: bool = False
    fingerprint: Callable[[], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mpp is not None:
            check_mpp(self.mpp)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of level 0, in pixels."""
        height, width, _ = self.levels[0].shape
        return height, width

    @property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of every level."""
        longest = int(np.argmax(self.shape))
        return tuple(
            _downsample(self.shape[longest], level.shape[longest]) for level in self.levels
        )

    def require_mpp(self) -> float:
        """Return the µm/px, without which a model cannot be used.

        Returns
        -------
        float
            µm per level-0 pixel.

        Raises
        ------
        UserError
            If it is unknown, or the pixels are not square.
        """
        if self.mpp is not None:
            return self.mpp
        if self.size is not None and self.size.mpp is None:
            raise UserError(
                f"The pixels of {self.name} are not square ({self.size.x:g} x {self.size.y:g} µm): "
                "resample the image to square pixels, or set its µm/px.",
                setting="mpp",
            )
        raise UserError(
            f"The µm/px of {self.name} is unknown: set it, about 0.25 for a 40x scan, 0.5 for 20x.",
            setting="mpp",
        )

    def read(self, x: int, y: int, width: int, height: int, level: int = 0) -> NDArray[np.uint8]:
        """Return a rectangle of one level.

        Parameters
        ----------
        x, y : int
            Its upper left corner, in pixels of that level.
        width, height : int
            Size, in pixels of that level.
        level : int
            Index of the level.

        Returns
        -------
        (height, width, 3) ndarray of uint8
            RGB; white outside of the image.

        Raises
        ------
        UserError
            If the file cannot be decoded.
        """
        pixels = self.levels[level]
        out = np.full((height, width, 3), 255, np.uint8)
        top, bottom = (min(max(row, 0), pixels.shape[0]) for row in (y, y + height))
        left, right = (min(max(column, 0), pixels.shape[1]) for column in (x, x + width))
        if top < bottom and left < right:
            out[top - y : bottom - y, left - x : right - x] = self._compute(
                pixels[top:bottom, left:right]
            )
        return out

    def read_scaled(
        self, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Return a rectangle resampled to a size, antialiased.

        Overlapping boxes give the same pixels in their overlap, up to rounding, if they have the
        same scale and are a whole number of resampled pixels apart.

        Parameters
        ----------
        box : tuple of 4 float
            ``(x0, y0, x1, y1)``, edges in level-0 pixels: pixel i reaches from i to i + 1.
        size : tuple of 2 int
            ``(width, height)`` of the result.

        Returns
        -------
        (height, width, 3) ndarray of uint8
            RGB; white outside of the image.

        Raises
        ------
        UserError
            If the file cannot be decoded.
        """
        scale = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
        # The coarsest level that is at least as fine; level 0 for enlarging.
        level, downsample = 0, 1.0
        for index, candidate in enumerate(self.downsamples):
            if candidate <= scale * (1 + 1e-9):
                level, downsample = index, candidate
        x0, y0, x1, y1 = (edge / downsample for edge in box)
        # Reach of the resampling filter, which must not meet the edge of the pixels that are read.
        margin_x = math.ceil(max((x1 - x0) / size[0], 1)) + 1
        margin_y = math.ceil(max((y1 - y0) / size[1], 1)) + 1
        left, top = math.floor(x0) - margin_x, math.floor(y0) - margin_y
        right, bottom = math.ceil(x1) + margin_x, math.ceil(y1) + margin_y
        pixels = self.read(left, top, right - left, bottom - top, level)
        resampled = Image.fromarray(pixels).resize(
            size,
            Image.Resampling.BILINEAR,
            box=(x0 - left, y0 - top, x1 - left, y1 - top),
        )
        return np.asarray(resampled)

    def thumbnail(self, max_size: int = 512) -> NDArray[np.uint8]:
        """Return the whole slide, its longest side ``max_size`` pixels or less.

        Parameters
        ----------
        max_size : int
            Longest side, in pixels; a smaller slide is not enlarged.

        Returns
        -------
        (H, W, 3) ndarray of uint8
            RGB.
        """
        height, width = self.shape
        scale = max(height, width, max_size) / max_size
        size = max(round(width / scale), 1), max(round(height / scale), 1)
        return self.read_scaled((0, 0, width, height), size)

    def digest(self, whole: bool = False) -> str:
        """Return what identifies the image, wherever its file lies.

        Parameters
        ----------
        whole : bool
            Read all of it, however long that takes.

        Returns
        -------
        str
            SHA-256 of the file, or of size and pixels where there is none or several, hexadecimal.
            Of a large image, and of several files, only parts are read, and the digest begins with
            ``sampled-`` (`file_digest`). Another scene than the default, and converted colours,
            follow after ``#``: they make another image of the file.
        """
        variant = (self.scenes.other or "") + (" sRGB" if self.srgb else "")
        digest = self._whole_digest if whole else self._digest
        return f"{digest}#{variant}" if variant else digest

    def source(self) -> dict[str, Any]:
        """Return what a result stores to find the image again.

        Returns
        -------
        dict of str to Any
            `sha256` (`digest`), and what `open_slide` takes: `path`, and `scene` and `srgb` unless
            they are the default.
        """
        source: dict[str, Any] = {
            "path": None if self.path is None else str(self.path.resolve()),
            "sha256": self.digest(),
        }
        if self.scenes.other is not None:
            source["scene"] = self.scenes.other
        if self.srgb:
            source["srgb"] = True
        return source

    def matches(self, source: Mapping[str, Any]) -> bool:
        """Tell whether a result was made from this image.

        Parameters
        ----------
        source : mapping of str to Any
            The entry `source` of its `run.json`. If it has the SHA-256 of all of a large file, as
            earlier versions stored it, all of this one is read.

        Returns
        -------
        bool
            Whether the images are the same, wherever their files lie.
        """
        return self.digest(whole=not source["sha256"].startswith(SAMPLED)) == source["sha256"]

    @cached_property
    def _digest(self) -> str:
        if self.fingerprint is not None:
            return sampled_digest([self.fingerprint().encode()])
        if self.path is not None and self.path.is_file():
            return file_digest(self.path)
        if 3 * math.prod(self.shape) <= _WHOLE_PIXELS:
            return self._whole_digest
        size = "x".join(map(str, self.shape))
        return sampled_digest([size.encode(), *(part.tobytes() for part in self._samples())])

    @cached_property
    def _whole_digest(self) -> str:
        if self.fingerprint is None and self.path is not None and self.path.is_file():
            return file_digest(self.path, whole=True)
        height, width = self.shape
        sha256 = hashlib.sha256(f"{height}x{width}".encode())
        for y in range(0, height, SMALL):
            sha256.update(self.read(0, y, width, min(SMALL, height - y)).data)
        return sha256.hexdigest()

    def _samples(self) -> Iterator[NDArray[np.uint8]]:
        """Yield squares of level 0 in rows and columns."""
        height, width = self.shape
        for y in np.linspace(0, max(height - _SAMPLE, 0), _SAMPLES).astype(int).tolist():
            for x in np.linspace(0, max(width - _SAMPLE, 0), _SAMPLES).astype(int).tolist():
                yield self.read(x, y, _SAMPLE, _SAMPLE)

    def _compute(self, pixels: da.Array) -> NDArray[np.uint8]:
        try:
            return pixels.compute(scheduler="threads")
        except (OSError, RuntimeError, ValueError) as error:  # imagecodecs raises RuntimeError
            raise UserError(
                f"{self.name} cannot be read ({error}): copy or export the file again"
            ) from error


def slide_from_arrays(
    levels: Sequence[Any],
    mpp: float | None = None,
    name: str = "image",
    path: str | Path | None = None,
    size: PixelSize | None = None,
) -> Slide:
    """Make a slide of arrays, such as the levels of a napari layer.

    Parameters
    ----------
    levels : sequence of Any
        One image at several sizes, NumPy or dask arrays or others that dask can wrap: (H, W, 3)
        RGB, (H, W, 4) RGB and opacity, or (H, W) grey; uint8, uint16 or bool.
    mpp : float or None
        µm per pixel of the largest.
    name : str
        Name of the slide.
    path : str or Path or None
        File that the arrays were read from, if any.
    size : PixelSize or None
        Size of the pixels of the largest, where they are not square.

    Returns
    -------
    Slide
        With these levels, and computed ones down to a small one.

    Raises
    ------
    UserError
        If the arrays are not such images, or `mpp` is not plausible.
    """
    arrays = [as_dask(level) for level in levels]
    for array in arrays:
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise UserError(
                f"{name} has shape {array.shape}, not a plane of RGB or grey: choose another image"
            )
        if 0 in array.shape:
            raise UserError(f"{name} is empty: choose another image")
    arrays.sort(key=lambda array: array.shape[0] * array.shape[1], reverse=True)
    rgb = [array_as_rgb(array, name) for array in arrays]
    pyramid, overview = with_coarser(rgb)
    path = None if path is None else Path(path)
    return Slide(name, path, mpp, pyramid, size, overview=overview)


def _downsample(full: int, reduced: int) -> float:
    """Return the ratio of two sides, whole where only rounding to pixels keeps it from that."""
    whole = round(full / reduced)
    return float(whole) if abs(full / whole - reduced) < 1 else full / reduced
