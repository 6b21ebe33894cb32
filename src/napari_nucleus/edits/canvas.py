"""Where corrections are made: labels, table and image, read only where they are looked at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import shapely
import zarr
from skimage.draw import line as line_pixels

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.journal.rows import NucleusTable, distinct
from napari_nucleus.results.journal.state import Notes, State
from napari_nucleus.results.labels import CHUNK, read_box, read_pixels
from napari_nucleus.results.regions import Regions
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box

Points = Sequence[tuple[float, float]]
"""Corners (x, y) of a line or polygon, in level-0 pixels whose centres have whole coordinates."""


@dataclass(frozen=True)
class Canvas:
    """A result that is being corrected.

    Attributes
    ----------
    state : State
        Table, types, what is reviewed and checked.
    levels : tuple[zarr.Array, ...]
        The labels, largest level first.
    slide : Slide
        The image.
    mpp : float or None
        µm per level-0 pixel, None where not known.
    regions : mapping of str to sequence of tuple of 2 float
        Outlines of the regions that were segmented, by name; empty for a box or the whole image.
    """

    state: State
    levels: tuple[zarr.Array, ...]
    slide: Slide
    mpp: float | None
    regions: Regions

    @property
    def table(self) -> NucleusTable:
        """The nuclei."""
        return self.state.table

    @property
    def notes(self) -> Notes:
        """Types, what is reviewed and checked."""
        return self.state.notes

    @property
    def extent(self) -> Box:
        """The whole image."""
        height, width = self.levels[0].shape
        return Box(0, 0, width, height)

    def labels(self, box: Box) -> np.ndarray:
        """Return the int32 labels of a box.

        Parameters
        ----------
        box : Box
            Level-0 pixels, half open.

        Returns
        -------
        (height, width) ndarray of int32
            0 = background.

        Raises
        ------
        IndexError
            If it leaves the image.
        """
        return read_box(self.levels[0], box.x0, box.y0, box.width, box.height)

    def image(self, box: Box) -> np.ndarray:
        """Return the uint8 RGB pixels of a box.

        Parameters
        ----------
        box : Box
            Level-0 pixels, half open.

        Returns
        -------
        (height, width, 3) ndarray of uint8
            RGB.
        """
        return self.slide.read(box.x0, box.y0, box.width, box.height)

    def chosen(self, labels: Iterable[int]) -> np.ndarray:
        """Return labels in ascending order, each once.

        Parameters
        ----------
        labels : iterable of int
            The nuclei.

        Returns
        -------
        (N,) ndarray of int64
            The labels.

        Raises
        ------
        UserError
            If there are none, or no such nuclei.
        """
        wanted = distinct(np.fromiter(labels, np.int64))
        if not len(wanted):
            raise UserError("No nucleus is selected: click one, or draw around several.")
        if not (known := self.table.known(wanted)).all():
            raise UserError(f"There is no nucleus {wanted[~known][0]}: choose another.")
        return wanted

    def boxes(self, labels: np.ndarray) -> list[Box]:
        """Return the box around each nucleus.

        Parameters
        ----------
        labels : (N,) ndarray of int
            The nuclei.
        """
        rows = self.table.rows(labels, ("x0", "y0", "x1", "y1"))
        return [Box(*map(int, edges)) for edges in zip(*rows.values(), strict=True)]

    def around(self, labels: np.ndarray) -> Box:
        """Return the smallest box around some nuclei, of which there must be one.

        Parameters
        ----------
        labels : (N,) ndarray of int
            The nuclei.
        """
        x0, y0, x1, y1 = self.table.rows(labels, ("x0", "y0", "x1", "y1")).values()
        return Box(int(x0.min()), int(y0.min()), int(x1.max()), int(y1.max()))

    def along(self, line: Points) -> np.ndarray:
        """Return the labels of all nuclei that a line touches, ascending.

        Parameters
        ----------
        line : Points
            Its corners; what leaves the image is left out.

        Returns
        -------
        (N,) ndarray of int64
            The labels.
        """
        corners = np.rint(np.asarray(line, float)).astype(int)
        parts = [line_pixels(y0, x0, y1, x1) for (x0, y0), (x1, y1) in pairwise(corners)]
        if not parts:
            return np.zeros(0, np.int64)
        y, x = (np.concatenate(axis) for axis in zip(*parts, strict=True))
        inside = (y >= 0) & (y < self.extent.y1) & (x >= 0) & (x < self.extent.x1)
        found = np.unique(read_pixels(self.levels[0], y[inside], x[inside])).astype(np.int64)
        return found[found > 0]

    def inside(self, polygon: Points) -> np.ndarray:
        """Return the labels of all nuclei centred in a polygon, ascending.

        Parameters
        ----------
        polygon : Points
            Its corners; fewer than three hold no nucleus.

        Returns
        -------
        (N,) ndarray of int64
            The labels.
        """
        if len(polygon) < 3:
            return np.zeros(0, np.int64)
        shape = shapely.make_valid(shapely.Polygon(polygon))
        x, y = self.table.columns["centroid_x"], self.table.columns["centroid_y"]
        x0, y0, x1, y1 = shape.bounds
        near = np.flatnonzero((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
        shapely.prepare(shape)
        return self.table.labels[near[shapely.contains_xy(shape, x[near], y[near])]].astype(
            np.int64
        )

    def erased(self, labels: np.ndarray) -> PixelChange:
        """Return what it takes to remove nuclei, looked up chunk by chunk of the labels.

        Parameters
        ----------
        labels : (N,) ndarray of int
            The nuclei.
        """
        pieces: dict[tuple[int, int], Box] = {}
        for box in self.boxes(labels):
            rows = range(box.y0 // CHUNK, (box.y1 - 1) // CHUNK + 1)
            columns = range(box.x0 // CHUNK, (box.x1 - 1) // CHUNK + 1)
            for row, column in product(rows, columns):
                x, y = column * CHUNK, row * CHUNK
                piece = box.grown(0, within=Box(x, y, x + CHUNK, y + CHUNK))
                pieces[row, column] = piece.union(pieces.get((row, column), piece))
        return PixelChange.joined(self._erased(labels, box) for box in pieces.values())

    def _erased(self, labels: np.ndarray, box: Box) -> PixelChange:
        before = self.labels(box)
        after = np.where(np.isin(before, labels), 0, before)
        return PixelChange.between(before, after, box.x0, box.y0)
