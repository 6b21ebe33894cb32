"""Pixel sizes: µm/px from the metadata of TIFF files, and whether a value is plausible."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple
from xml.etree import ElementTree

from tifffile import TiffFile, TiffPage

from napari_nucleus.errors import UserError

PLAUSIBLE_MPP = 0.05, 10.0
"""Range of µm/px of a microscope. 72 or 96 dots per inch, which programs write by default, would be
353 or 265."""

_ABBREVIATIONS = {
    "pm": 1e-6,
    "å": 1e-4,
    "nm": 1e-3,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ writes it
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "dm": 1e5,
    "m": 1e6,
    "thou": 25.4,
    "mil": 25.4,
    "pt": 25400 / 72,
    "in": 25400.0,
}
_NAMES = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "decimeter": 1e5,
    "meter": 1e6,
    "point": 25400 / 72,
    "inch": 25400.0,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}

_NUMBER = r"(\d*[.,]?\d+(?:[eE][-+]?\d+)?)"
_MPP = re.compile(
    rf"\b(?:mpp|microns?[ _]?per[ _]?pixel)(?:[ _-]?([xy]))?[\"'\s]*[=:][\"'\s]*{_NUMBER}",
    re.IGNORECASE,
)
_SCAN_RESOLUTION = re.compile(rf"\bScanRes=[\"']{_NUMBER}")  # Ventana's
_PHILIPS_SPACING = re.compile(rf'"{_NUMBER}"\s+"{_NUMBER}"')


class PixelSize(NamedTuple):
    """Size of a pixel in micrometres.

    Attributes
    ----------
    x, y : float
        Width and height.
    """

    x: float
    y: float

    @property
    def is_plausible(self) -> bool:
        """Whether both sides are those of a microscope's pixel."""
        return all(PLAUSIBLE_MPP[0] <= side <= PLAUSIBLE_MPP[1] for side in self)

    @property
    def mpp(self) -> float | None:
        """µm per pixel; None if the pixel is not square within 2 %."""
        return math.sqrt(self.x * self.y) if math.isclose(*self, rel_tol=0.02) else None


def check_mpp(mpp: float) -> float:
    """Refuse a µm/px that is not one of a microscope.

    Parameters
    ----------
    mpp : float
        µm per pixel, as a user gave it.

    Returns
    -------
    float
        The same.

    Raises
    ------
    UserError
        If it is not between 0.05 and 10; the message names the unit that may have been meant.

    Examples
    --------
    >>> check_mpp(0.25)
    0.25
    """
    if PixelSize(mpp, mpp).is_plausible:
        return mpp
    meant = (
        f" (for {mpp:g} {unit}, give {mpp * factor:g})"
        for unit, factor in (("nm", 1e-3), ("mm", 1e3))
        if PixelSize(mpp * factor, mpp * factor).is_plausible
    )
    low, high = PLAUSIBLE_MPP
    raise UserError(
        f"{mpp:g} µm/px is not a plausible pixel size{next(meant, '')}: give a value from {low:g} "
        f"to {high:g}, about 0.25 for a 40x scan and 0.5 for 20x.",
        setting="mpp",
    )


def stored_size(tif: TiffFile, page: TiffPage) -> PixelSize | None:
    """Return the pixel size of an image of a TIFF file.

    Parameters
    ----------
    tif : TiffFile
        The file.
    page : TiffPage
        Its largest level.

    Returns
    -------
    PixelSize or None
        The most reliable one that is plausible; None if there is none. Metadata that cannot be
        parsed are skipped.
    """
    sources: tuple[Callable[[TiffFile, TiffPage], Iterator[PixelSize]], ...] = (
        _from_description,
        _from_ome,
        _from_philips,
        _from_libvips,
        _from_resolution,
    )
    for source in sources:
        # What is wrong in optional metadata costs the pixel size, not the image.
        with suppress(ElementTree.ParseError, ValueError, KeyError, TypeError, AttributeError):
            for size in source(tif, page):
                if size.is_plausible:
                    return size
    return None


def _from_description(tif: TiffFile, page: TiffPage) -> Iterator[PixelSize]:
    """Find Aperio's ``MPP = 0.25`` and its like, and Ventana's ``ScanRes="0.25"``."""
    xmp = page.tags.valueof("XMP", "")
    text = page.description + (xmp.decode(errors="replace") if isinstance(xmp, bytes) else str(xmp))
    sides = {axis.lower(): _number(side) for axis, side in reversed(_MPP.findall(text))}
    for x, y in (("", ""), ("x", "y")):
        if x in sides and y in sides:
            yield PixelSize(sides[x], sides[y])
    for side in map(_number, _SCAN_RESOLUTION.findall(text)):
        yield PixelSize(side, side)


def _from_ome(tif: TiffFile, page: TiffPage) -> Iterator[PixelSize]:
    if not tif.ome_metadata:
        return
    size = str(page.imagewidth), str(page.imagelength)
    for pixels in ElementTree.fromstring(tif.ome_metadata).iterfind(".//{*}Pixels"):
        if (pixels.get("SizeX"), pixels.get("SizeY")) == size:
            yield PixelSize(
                *(
                    micrometres(pixels.get(f"PhysicalSize{axis}Unit", "um"))
                    * _number(pixels.get(f"PhysicalSize{axis}", ""))
                    for axis in "XY"
                )
            )


def _from_philips(tif: TiffFile, page: TiffPage) -> Iterator[PixelSize]:
    """Read DICOM's pixel spacing in mm, of rows, then columns; the smallest is that of level 0."""
    if "DPUfsImport" not in tif.pages.first.description:
        return
    sizes = []
    for image in ElementTree.fromstring(tif.pages.first.description).iter("DataObject"):
        attributes = {child.get("Name"): child for child in image.findall("Attribute")}
        image_type = attributes.get("PIM_DP_IMAGE_TYPE")
        if image_type is None or image_type.text != "WSI":
            continue
        for attribute in image.iter("Attribute"):
            if attribute.get("Name") == "DICOM_PIXEL_SPACING":
                spacings = _PHILIPS_SPACING.findall(attribute.text or "")
                sizes += [PixelSize(1000 * _number(x), 1000 * _number(y)) for y, x in spacings]
    if sizes:
        yield min(sizes)


def _from_libvips(tif: TiffFile, page: TiffPage) -> Iterator[PixelSize]:
    """Read the properties of OpenSlide that libvips copies into its XML."""
    if "<property>" not in page.description:
        return
    properties = {
        item.findtext("{*}name"): item.findtext("{*}value", "")
        for item in ElementTree.fromstring(page.description).iterfind(".//{*}property")
    }
    yield PixelSize(*(_number(properties[f"openslide.mpp-{axis}"]) for axis in "xy"))


def _from_resolution(tif: TiffFile, page: TiffPage) -> Iterator[PixelSize]:
    unit = _RESOLUTION_UNITS.get(page.resolutionunit, "")
    if tif.imagej_metadata:
        unit = str(tif.imagej_metadata.get("unit", unit))
    x, y = page.get_resolution()
    if x > 0 and y > 0:
        yield PixelSize(micrometres(unit) / x, micrometres(unit) / y)


def _number(text: str) -> float:
    """Return a number, also with a decimal comma; NaN for an empty text."""
    return float(text.strip().replace(",", ".") or "nan")


def micrometres(unit: str) -> float:
    """Return the micrometres of a unit of length.

    Parameters
    ----------
    unit : str
        Name or abbreviation, as programs write it.

    Returns
    -------
    float
        NaN for an unknown one.

    Examples
    --------
    >>> micrometres("nanometer"), micrometres("mm")
    (0.001, 1000.0)
    """
    name = unicodedata.normalize("NFKC", unit).strip().casefold()
    if name in _ABBREVIATIONS:
        return _ABBREVIATIONS[name]
    name = name.replace("metre", "meter").replace("ö", "o").replace("å", "a")
    name = name.removesuffix("es") if name == "inches" else name.removesuffix("s")
    return _NAMES.get(name, math.nan)
