"""Areas of a slide to segment: the whole image, a box, or drawn shapes."""

import math
from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from napari_nucleus.errors import UserError
from napari_nucleus.results.regions import Regions, enclosed
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box


@dataclass(frozen=True)
class Area:
    """A box to segment, and the part of it whose nuclei count.

    Attributes
    ----------
    box : Box
        In level-0 pixels, within the slide.
    name : str
        Name of the region, empty for a box or the whole image.
    shape : shapely geometry or None
        Nuclei centred outside of it are left out, in level-0 pixels whose centres have whole
        coordinates; None takes all.
    """

    box: Box
    name: str = ""
    shape: BaseGeometry | None = None


def areas_to_segment(
    slide: Slide,
    region: tuple[int, int, int, int] | None,
    regions: Regions | None,
    tolerance: float,
) -> list[Area]:
    """Return the areas to segment, one after the other.

    Where regions overlap, the nuclei are those of the first one. Two areas may disagree on a
    nucleus's centre by a little, so that the later one also takes nuclei centred just inside of the
    first, unless what it would write is already there.

    Parameters
    ----------
    slide : Slide
        The image.
    region : tuple of 4 int or None
        Box ``(x, y, width, height)`` in level-0 pixels.
    regions : mapping of str to sequence of tuple of 2 float or None
        Outlines of named regions; None for the box, or the whole image.
    tolerance : float
        How far two areas may disagree on a centre, in level-0 pixels.

    Returns
    -------
    list of Area
        In their order.

    Raises
    ------
    UserError
        If one has no pixel of the slide, or encloses nothing.
    ValueError
        If both a box and regions are given.
    """
    if regions is None:
        return [Area(_box(slide, region))]
    if region is not None:
        raise ValueError("give a region or regions, not both")
    if not regions:
        raise UserError("There is no region to segment: draw one, or take the whole image.")
    areas: list[Area] = []
    earlier: BaseGeometry = shapely.Polygon()
    for name, outline in regions.items():
        shape = enclosed(outline)
        if shape.is_empty:
            raise UserError(f"The region {name} encloses nothing: draw a rectangle or a polygon.")
        x0, y0, x1, y1 = shape.bounds
        left, top = math.floor(x0 + 0.5), math.floor(y0 + 0.5)
        right, bottom = math.ceil(x1 + 0.5), math.ceil(y1 + 0.5)
        box = _box(slide, (left, top, right - left, bottom - top), f"{name} ")
        areas.append(Area(box, name, shape.difference(earlier.buffer(-tolerance))))
        earlier = earlier.union(shape)
    return areas


def _box(slide: Slide, region: tuple[int, int, int, int] | None, name: str = "") -> Box:
    height, width = slide.shape
    x, y, w, h = region or (0, 0, width, height)
    box = Box(max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
    if box.width < 1 or box.height < 1:
        raise UserError(
            f"The region {name}{(x, y, w, h)} (x, y, width, height) holds no pixel of "
            f"{slide.name}, which is {width} x {height} px: choose another."
        )
    return box
