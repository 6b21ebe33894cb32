"""Nuclei of overlapping tiles become those of a slide: each once, whole, without seams."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from shapely import contains_xy

from napari_nucleus.inference.areas import Area
from napari_nucleus.inference.deferred_types import DeferredTypes
from napari_nucleus.measure import measure
from napari_nucleus.models import NucleusModel
from napari_nucleus.results import ResultWriter
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Grid, Tile

BAND = 8
"""Network pixels by which two tiles may disagree on a nucleus's centre."""


class Stitcher:
    """Writes the nuclei of an area's tiles, each once.

    A nucleus belongs to the tile in whose core its centre lies. Two tiles that see a nucleus at
    their seam may disagree on its centre by a little, so a tile also takes nuclei centred just
    before its core, unless what it would write is already there.

    Parameters
    ----------
    slide : Slide
        The image.
    grid : Grid
        Maps network pixels to level-0 pixels.
    network : NucleusModel
        In evaluation mode.
    writer : ResultWriter
        Takes labels and rows of the table.
    deferred : DeferredTypes
        Takes the rows of nuclei that are typed once all are found.
    mpp : float
        µm per level-0 pixel.
    area : Area
        What the grid covers.
    count : int
        Nuclei that were written before, of other areas.
    """

    def __init__(
        self,
        slide: Slide,
        grid: Grid,
        network: NucleusModel,
        writer: ResultWriter,
        deferred: DeferredTypes,
        mpp: float,
        area: Area,
        count: int,
    ) -> None:
        self.slide = slide
        self.grid = grid
        self.network = network
        self.writer = writer
        self.deferred = deferred
        self.mpp = mpp
        self.area = area
        self.count = count

    def add(self, tile: Tile, maps: dict[str, np.ndarray]) -> None:
        """Turn the maps of a tile's window into nuclei and write those that are new.

        Parameters
        ----------
        tile : Tile
            Core and window in network pixels.
        maps : dict of str to ndarray
            Maps of the window, as `NucleusModel.find` takes them.
        """
        seen, table = self.network.find(maps)
        owned = table["label"][_owned(table, tile) & self._inside(table, tile)]
        if owned.empty:
            return
        # neighbours keep their pixels while outlines are smoothed, whoever owns them
        labels, box = self.grid.to_slide(seen, maps["np"], self.network.threshold, tile.window)
        labels = _only(labels, owned.to_numpy())
        rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
        if not len(rows):
            return
        top, left = rows[0], columns[0]
        labels = labels[top : rows[-1] + 1, left : columns[-1] + 1]
        x, y = box.x0 + int(left), box.y0 + int(top)
        height, width = labels.shape
        written = self.writer.read_labels(x, y, width, height)
        labels = _without_known(labels, written)
        found = np.unique(labels[labels > 0])
        if not len(found):
            return
        labels = _renumbered(labels, found, self.count + 1)
        self.count += len(found)
        self.writer.write_labels(x, y, np.where(written > 0, written, labels))
        rgb = self.slide.read(x, y, width, height)
        measured = measure(labels, rgb, self.mpp, (x, y), self.slide.white)
        measured = measured.assign(region=self.area.name)
        kept = pd.Index(table["label"]).get_indexer(found)
        features = self.network.describe(seen, table, maps)
        if features is None:
            for column in ("type", "type_prob"):
                measured[column] = table[column].to_numpy()[kept]
            self.writer.append(measured)
        else:
            centroids = self._on_slide(table, tile)[kept]
            self.deferred.add(measured, centroids / self.grid.scale - 0.5, features[kept])

    def _inside(self, table: pd.DataFrame, tile: Tile) -> np.ndarray:
        """Tell which nuclei of a window are centred in the area's shape."""
        if self.area.shape is None:
            return np.ones(len(table), bool)
        return contains_xy(self.area.shape, self._on_slide(table, tile) - 0.5)

    def _on_slide(self, table: pd.DataFrame, tile: Tile) -> NDArray[np.float64]:
        """Return centres (N, 2) in level-0 pixels, measured from the corner of the first."""
        left, top, _, _ = self.grid.on_slide(tile.window)
        centroids = table[["centroid_x", "centroid_y"]].to_numpy(float)
        return (centroids + 0.5) * self.grid.scale + (left, top)


def _owned(table: pd.DataFrame, tile: Tile) -> pd.Series:
    x = table["centroid_x"] + tile.window.x0
    y = table["centroid_y"] + tile.window.y0
    # at the region's own edge there is no tile before this one that could have lost a nucleus
    left = tile.core.x0 - (BAND if tile.core.x0 > 0 else 0)
    top = tile.core.y0 - (BAND if tile.core.y0 > 0 else 0)
    return (x >= left) & (x < tile.core.x1) & (y >= top) & (y < tile.core.y1)


def _only(labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    lookup = np.zeros(max(labels.max(), keep.max(initial=0)) + 1, np.int32)
    lookup[keep] = keep
    return lookup[labels]


def _renumbered(labels: np.ndarray, found: np.ndarray, first: int) -> np.ndarray:
    lookup = np.zeros(labels.max() + 1, np.int32)
    lookup[found] = np.arange(first, first + len(found))
    return lookup[labels]


def _without_known(labels: np.ndarray, written: np.ndarray) -> np.ndarray:
    """Drop nuclei that are there already, and pixels that belong to others."""
    free = np.where(written > 0, 0, labels)
    if not written.any():
        return free
    size = np.bincount(labels.ravel())
    left = np.bincount(free.ravel(), minlength=len(size))
    return _only(free, np.flatnonzero(2 * left > size))
