"""Tissue: the part of a slide that is not glass."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_nucleus.slides.slide import Slide

_SMALL = 4e6
"""Area in µm² below which an image is a region that someone chose: all of it counts."""

_MPP, _LONGEST = 8.0, 2048
"""µm per pixel of the overview, and its longest side in pixels, which makes it coarser."""

_MARGIN = 3
"""Mask pixels around a box that `Tissue.covers` also looks at, at least 24 µm."""

# Optical densities in units of 0.0001: all that is compared are whole numbers, so that rounding
# cannot make the mask of one machine differ from that of another.
_DENSITY = np.rint(-1e4 * np.log10(np.maximum(np.arange(256), 1) / 255)).astype(np.int32)
_TINT = 600  # of glass, at most
_SMOOTH = 150  # what the three channels of glass vary within 5 pixels
_COLOR = 150  # more than shading, JPEG and bubbles give glass; pale eosin has 300
_TEXTURE, _DARK = 300, 3000  # of three channels, more than glass has in a grey image


@dataclass(frozen=True, eq=False)
class Tissue:
    """The part of a slide that is worth looking at.

    Attributes
    ----------
    mask : (h, w) ndarray of bool
        True is tissue; rows and columns cover the whole image.
    downsample : tuple of 2 float
        Height and width of a mask pixel, in level-0 pixels.
    """

    mask: NDArray[np.bool_]
    downsample: tuple[float, float]

    def __post_init__(self) -> None:
        mask = np.array(self.mask, dtype=bool)
        mask.setflags(write=False)
        object.__setattr__(self, "mask", mask)

    @property
    def share(self) -> float:
        """Share of the image, 0 to 1."""
        return float(self.mask.mean())

    def covers(self, x0: float, y0: float, x1: float, y1: float) -> bool:
        """Return whether there is tissue in a box, or so near that a nucleus may reach into it.

        Parameters
        ----------
        x0, y0, x1, y1 : float
            Edges in level-0 pixels.

        Returns
        -------
        bool
            Whether any pixel of the mask is tissue in the box grown by three of them.
        """
        high, wide = self.downsample
        rows = slice(
            max(math.floor(y0 / high) - _MARGIN, 0), max(math.ceil(y1 / high), 0) + _MARGIN
        )
        columns = slice(
            max(math.floor(x0 / wide) - _MARGIN, 0), max(math.ceil(x1 / wide), 0) + _MARGIN
        )
        return bool(self.mask[rows, columns].any())

    def digest(self) -> str:
        """Return the SHA-256 of the mask and its scale, hexadecimal."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        sha256 = hashlib.sha256(repr((self.mask.shape, self.downsample)).encode())
        sha256.update(np.packbits(self.mask).data)
        return sha256.hexdigest()


def find_tissue(slide: Slide) -> Tissue:
    """Find the tissue of a slide in an overview of 8 µm/px, or at most 2048 pixels.

    Tissue is what has a colour of its own beside that of the glass: the optical densities of red,
    green and blue differ, as those of every stain do, while bubbles, dust, edges of glass, shading
    and what was never scanned are grey. Black, green, blue and red ink counts only close to tissue,
    which may be seen through it. Where nothing is coloured, texture and darkness decide. Gaps are
    closed, holes of less than 1 mm² filled and specks of less than 0.005 mm² removed.

    An image of less than 4 mm², or one in which no tissue is found, is tissue as a whole.

    Parameters
    ----------
    slide : Slide
        The image.

    Returns
    -------
    Tissue
        The same for the same pixels, on every machine.

    Raises
    ------
    UserError
        If the µm/px is unknown, or the file cannot be decoded.
    """
    height, width = slide.shape
    mpp = slide.require_mpp()
    longest = max(height, width)
    rgb = slide.thumbnail(min(max(math.ceil(longest * mpp / _MPP), 1), _LONGEST))
    downsample = height / rgb.shape[0], width / rgb.shape[1]
    if height * width * mpp**2 < _SMALL:
        return Tissue(np.ones(rgb.shape[:2], bool), downsample)
    mask = _tissue(rgb, mpp * max(downsample))
    return Tissue(mask if mask.any() else ~mask, downsample)


def _tissue(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Return the tissue of an overview of so many µm/px."""
    rgb = cv2.blur(rgb, (3, 3))
    scanned = (rgb.max(axis=2) > 9) & (rgb.min(axis=2) < 250)
    density = _DENSITY[rgb] * scanned[..., None]
    texture = _texture(density.sum(axis=2))
    density = np.maximum(density - _glass(density[scanned], texture[scanned]), 0)
    red, green, blue = np.moveaxis(density, 2, 0)
    total = density.sum(axis=2)
    color = density.max(axis=2) - density.min(axis=2)

    grey = 15 * color < total  # a fifth of the mean; stains have more than a quarter
    cyan = (5 * red > 7 * green) & (red > 1000)
    navy = (red > 6000) & (red > green) & (20 * blue < 9 * red)
    scarlet = (green > 6000) & (5 * blue > 3 * green) & (20 * red < 3 * green)
    ink = _grown(cyan | navy | scarlet | (grey & (total > 3 * _COLOR)), 2)
    tissue = _cleaned((color > _COLOR) & ~ink, mpp)
    if not tissue.any():  # nothing is coloured
        return _cleaned((texture > _TEXTURE) | (total > _DARK), mpp)
    return _cleaned(tissue | (ink & _grown(tissue, round(250 / mpp))), mpp)


def _glass(density: NDArray[np.int32], texture: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the density of the glass: the usual colour of smooth, nearly grey pixels.

    If most pixels of that colour are not smooth, they are pale tissue from edge to edge, and glass
    counts as white.
    """
    tint = density[:, [0, 2]] - density[:, [1]]
    pale = (np.abs(tint).max(axis=1) <= _TINT) & (density.max(axis=1) < 4000)
    tint, smooth = tint[pale], texture[pale] <= _SMOOTH
    white = np.zeros(3, np.int32)
    if smooth.sum() < 0.01 * len(density):
        return white
    bins = np.floor_divide(tint + _TINT, 40)
    counts = np.bincount(bins[smooth] @ [31, 1], minlength=31**2)
    peak = np.array(divmod(int(counts.argmax()), 31)) * 40 + 20 - _TINT
    alike = np.abs(tint - peak).max(axis=1) <= 60
    if 2 * (alike & smooth).sum() < alike.sum():
        return white
    return np.median(density[pale][alike & smooth], axis=0).astype(np.int32)


def _cleaned(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Close gaps, remove specks, fill holes and add a rim."""
    radius = max(round(50 / mpp), 1)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disk) > 0
    closed &= ~_small(closed, 5e3 / mpp**2)
    closed |= _small(~closed, 1e6 / mpp**2)
    return cv2.dilate(closed.astype(np.uint8), disk) > 0


def _small(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Return the connected parts of fewer pixels."""
    _, labels, parts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = parts[:, cv2.CC_STAT_AREA] < area
    small[0] = False
    return small[labels]


def _texture(density):
    """Return how much a density varies within 5 x 5 pixels."""
    values = density.astype(np.int16 if False else np.float32)
    kernel = np.ones((5, 5), np.uint8)
    return (cv2.dilate(values, kernel) - cv2.erode(values, kernel)).astype(np.int32)


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the mask grown to all sides."""
    side = 2 * radius + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
