"""What to segment: the whole image, a box, or drawn shapes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from napari_nucleus.errors import UserError
from napari_nucleus.results.regions import Regions, enclosed, region_names
from napari_nucleus.slides import Slide


@dataclass(frozen=True)
class Area:
    """The part of a slide whose nuclei are wanted.

    Attributes
    ----------
    shape : shapely geometry
        In level-0 pixels whose centres have whole coordinates.
    regions : mapping of str to sequence of tuple of 2 float or None
        Outlines of named regions, of which `shape` is the union; None for a box or the whole image.
    """

    shape: BaseGeometry
    regions: Regions | None

    def meets(self, box: tuple[float, float, float, float]) -> bool:
        """Return whether a box holds some of the area.

        Parameters
        ----------
        box : tuple of 4 float
            Edges ``(x0, y0, x1, y1)`` in level-0 pixels: pixel i reaches from i to i + 1.

        Returns
        -------
        bool
            Whether they meet.
        """
        x0, y0, x1, y1 = box
        return bool(self.shape.intersects(shapely.box(x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5)))

    def names(self, table: pd.DataFrame) -> NDArray[np.object_]:
        """Return the region of every nucleus.

        Parameters
        ----------
        table : DataFrame
            With `centroid_x` and `centroid_y`.

        Returns
        -------
        (N,) ndarray of object
            Of several the first one's name; empty in a box or the whole image; None of a nucleus
            that is centred outside.
        """
        x, y = table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()
        if self.regions is not None:
            names = region_names(self.regions, x, y)
            names[names == ""] = None
            return names
        x0, y0, x1, y1 = self.shape.bounds
        names = np.full(len(table), "", object)
        names[(x < x0) | (x >= x1) | (y < y0) | (y >= y1)] = None
        return names


def area_to_segment(
    slide: Slide, region: tuple[int, int, int, int] | None, regions: Regions | None
) -> Area:
    """Return what to segment.

    Parameters
    ----------
    slide : Slide
        The image.
    region : tuple of 4 int or None
        Box ``(x, y, width, height)`` in level-0 pixels.
    regions : mapping of str to sequence of tuple of 2 float or None
        Outlines of named regions; None for the box, or the whole image.

    Returns
    -------
    Area
        Within the slide.

    Raises
    ------
    UserError
        If one has no pixel of the slide, or encloses nothing.
    ValueError
        If both a box and regions are given.
    """
    height, width = slide.shape
    image = shapely.box(-0.5, -0.5, width - 0.5, height - 0.5)
    if regions is None:
        if region is None:
            return Area(image, None)
        x, y, w, h = region
        box = shapely.box(x - 0.5, y - 0.5, x + w - 0.5, y + h - 0.5)
        return Area(_within(image, box, f"{region} (x, y, width, height)", slide), None)
    if region is not None:
        raise ValueError("give a region or regions, not both")
    if not regions:
        raise UserError("There is no region to segment: draw one, or take the whole image.")
    shapes = []
    for name, outline in regions.items():
        shape = enclosed(outline)
        if shape.is_empty:
            raise UserError(f"The region {name} encloses nothing: draw a rectangle or a polygon.")
        shapes.append(_within(image, shape, name, slide))
    return Area(shapely.union_all(shapes), regions)


def _within(image: BaseGeometry, shape: BaseGeometry, name: str, slide: Slide) -> BaseGeometry:
    part = shape.intersection(image)
    if not part.area:
        height, width = slide.shape
        raise UserError(
            f"The region {name} holds no pixel of {slide.name}, which is {width} x {height} px: "
            "choose another."
        )
    return part
