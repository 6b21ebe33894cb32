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
"""Area in µm² below which an image counts as a whole: someone has chosen that region."""

_MPP, _LONGEST = 8.0, 2048
"""µm per pixel of the overview, and its longest side in pixels, which may make it coarser."""

_MARGIN = 3
"""Mask pixels around a box that `Tissue.covers` looks at as well, 24 µm or more."""

# Optical densities are whole numbers of 0.0001, so that rounding cannot make the mask of one
# machine differ from that of another. The limits are those between annotated tissue and glass.
_DENSITY = np.rint(-1e4 * np.log10(np.maximum(np.arange(256), 1) / 255)).astype(np.int32)
_COLOR = 120  # more than shading, JPEG and bubbles give to glass; pale eosin has 300
_FAINT = 50  # enough near other tissue, for the membranes of fat
_TINT = 400  # of glass, at most
_SMOOTH = 120  # what three channels of glass together vary within 5 pixels
_LEAST = 0.01  # share of the overview that glass takes, where there is any
_TEXTURE, _DARK = 300, 3000  # of three channels together, more than glass has in a grey image


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
        rows, columns = self.downsample
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "downsample", (float(rows), float(columns)))

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
        rows, columns = (
            slice(
                max(math.floor(low / step) - _MARGIN, 0), max(math.ceil(high / step) + _MARGIN, 0)
            )
            for low, high, step in zip((y0, x0), (y1, x1), self.downsample, strict=True)
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
    """Find the tissue of a slide, in an overview of 8 µm/px and at most 2048 px.

    Tissue is what has a colour: as those of every stain, the optical densities of red, green and
    blue differ, once that of the glass is taken off. Bubbles, dust, edges of glass, shading and
    what was never scanned are grey. Within 0.75 mm of tissue, ink counts as well, because tissue
    may lie under it, and so do traces of colour, such as the membranes of fat. Where more is grey
    than coloured, texture and darkness decide. Gaps of 0.1 mm are closed, specks of less than
    0.002 mm² removed and holes of less than 0.25 mm² filled; a rim of 50 µm is added.

    An image of less than 4 mm² is tissue as a whole, and so is one in which there is no glass, or
    nothing but glass: time is lost on glass, but nuclei where tissue is missed.

    Parameters
    ----------
    slide : Slide
        The image.

    Returns
    -------
    Tissue
        The same on every machine.

    Raises
    ------
    UserError
        If the µm/px is unknown, or the file cannot be decoded.
    """
    height, width = slide.shape
    mpp = slide.require_mpp()
    overview = slide.thumbnail(min(max(math.ceil(max(slide.shape) * mpp / _MPP), 1), _LONGEST))
    downsample = height / overview.shape[0], width / overview.shape[1]
    mask = np.zeros(overview.shape[:2], bool)
    if height * width * mpp**2 >= _SMALL:
        mpp *= max(downsample)
        mask = _grown(_tissue(overview, mpp), mpp)
    return Tissue(mask if mask.any() else ~mask, downsample)


def _tissue(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Return the tissue of an overview of so many µm/px; none if there is no glass."""
    smooth = np.asarray(cv2.GaussianBlur(rgb, (3, 3), 0), np.uint8)
    planes = np.ascontiguousarray(np.moveaxis(smooth, 2, 0))  # quicker than pixel by pixel
    white, unscanned = planes.min(axis=0) >= 250, planes.max(axis=0) < 10
    density = _DENSITY[planes]
    density[:, white | unscanned] = 0
    texture = _variation(density.sum(axis=0))
    glass = _glass(density, texture, ~(white | unscanned))
    if glass is None and white.mean() < _LEAST:
        return np.zeros(white.shape, bool)
    if glass is not None:
        density = np.maximum(density - glass[:, None, None], 0)
    red, green, blue = density
    total = density.sum(axis=0)
    color = density.max(axis=0) - density.min(axis=0)

    # Green ink takes less green than blue from the light, unless there is tissue under it; blue ink
    # takes more green than dyes do, and red ink more than blood. What is wider than a stroke is a
    # dye. The densities of stains differ by more than a fifth of their mean.
    pen = (5 * red > 7 * green) & (green <= blue) & (red > 1000)
    pen |= (
        (red > 6000)
        & (red > green)
        & (20 * blue < 9 * red)
        & (4 * green > 3 * np.minimum(red, 13000))
    )
    pen |= (green > 6000) & (5 * blue > 3 * green) & (10 * red < green)
    pen &= ~_solid(pen, mpp, times=12)
    black = (15 * color < total) & (total > 7500)

    colored, textured = color > _COLOR, texture > _TEXTURE
    fringe = _grown(_solid(pen, mpp) | black | unscanned, mpp, times=2)
    tissue = _cleaned(colored & ~pen & ~fringe, mpp)
    grey = _solid(textured & ~colored & ~pen, mpp, times=3)  # bubbles have thinner rims
    if np.count_nonzero(grey) >= np.count_nonzero(tissue):
        return _cleaned(colored | textured | (total > _DARK), mpp)
    ink = (colored | pen | black) & _grown(tissue, mpp, times=15)
    faint = textured & (color > _FAINT) & _grown(tissue, mpp, times=5)
    return _cleaned(tissue | ink | faint, mpp)


def _glass(
    density: NDArray[np.int32], texture: NDArray[np.int32], scanned: NDArray[np.bool_]
) -> NDArray[np.int32] | None:
    """Return the density of the glass: the most frequent colour of smooth, nearly grey pixels.

    There is none if pixels of that colour are seldom smooth: they are pale tissue, edge to edge.
    """
    tint = density[[0, 2]] - density[1]
    pale = scanned & (np.abs(tint).max(axis=0) <= _TINT) & (density.max(axis=0) < 4000)
    density, tint, smooth = density[:, pale], tint[:, pale], texture[pale] <= _SMOOTH
    if smooth.sum() < _LEAST * scanned.size:
        return None
    side = 2 * _TINT // 40 + 1
    counts = np.bincount([side, 1] @ ((tint[:, smooth] + _TINT) // 40))
    usual = np.array(divmod(counts.argmax(), side)) * 40 + 20 - _TINT
    total = density.sum(axis=0)
    alike = np.abs(tint - usual[:, None]).max(axis=0) <= 60
    middle = np.percentile(total[alike & smooth], 50, method="lower")
    alike &= np.abs(total - middle) <= 1000
    if smooth[alike].mean() < 0.6:
        return None
    return np.median(density[:, alike & smooth], axis=1).astype(np.int32)


def _variation(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the range of the values within 5 x 5 pixels."""
    exact, square = values.astype(np.float32), np.ones((5, 5), np.uint8)
    return (cv2.dilate(exact, square) - cv2.erode(exact, square)).astype(np.int32)


def _cleaned(mask: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Close gaps, remove specks and fill holes."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disk(mpp)) > 0
    closed &= ~_parts(closed, 2e3 / mpp**2)
    return closed | _parts(~closed, 2.5e5 / mpp**2)


def _parts(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Return the connected parts of fewer pixels."""
    _, labels, parts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = parts[:, cv2.CC_STAT_AREA] < area
    small[0] = False  # what is not in the mask
    return small[labels]


def _grown(mask: NDArray[np.bool_], mpp: float, times: int = 1) -> NDArray[np.bool_]:
    """Return the mask grown by 50 µm, several times."""
    return cv2.dilate(mask.astype(np.uint8), _disk(mpp), iterations=times) > 0


def _solid(mask: NDArray[np.bool_], mpp: float, times: int = 1) -> NDArray[np.bool_]:
    """Return the parts of the mask that are at least 0.1 mm wide, or several times that."""
    wide = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disk(mpp), iterations=times)
    return wide > 0


def _disk(mpp: float) -> NDArray[np.uint8]:
    """Return a disk of 50 µm in radius."""
    side = 2 * max(round(50 / mpp), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
