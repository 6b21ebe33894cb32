"""The nuclei of all tiles become a result: numbered, typed, measured, painted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.measure import label as components

from napari_nucleus.files import write_errors
from napari_nucleus.inference.seams import Place, Settled, paint, settle
from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.measure import measure
from napari_nucleus.measure.runs import LabelRuns, label_runs
from napari_nucleus.results import ResultWriter
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Grid

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel

_BLOCK = 2048
"""Side of the blocks of pixels that labels are painted in, a multiple of the chunks on disk."""

_CACHED = 64
"""Tiles that are kept in memory: those around a block, and more."""

Load = Callable[[Place], TileNuclei | None]


class Assembly:
    """Puts the tiles of a slide together; memory does not grow with the slide.

    Nuclei are numbered by tile, row by row, and by their place in it.

    Attributes
    ----------
    count : int
        Nuclei in all.

    Parameters
    ----------
    places : iterable of tuple of 2 int
        Row and column of the tiles, row by row.
    load : callable
        Returns the tile at a place, None if there is none.
    slide : Slide
        The image.
    grid : Grid
        Its tiles.
    mpp : float
        µm per level-0 pixel.
    regions : callable
        Takes the table of a tile and returns the region of every nucleus: a name, which is empty
        where the whole image is segmented, and None for nuclei that are in none.
    """

    def __init__(
        self,
        places: Iterable[Place],
        load: Load,
        slide: Slide,
        grid: Grid,
        mpp: float,
        regions: Callable[[pd.DataFrame], NDArray[np.object_]],
    ) -> None:
        self._places = list(places)
        self._slide = slide
        self._grid = grid
        self._mpp = mpp
        self._regions = regions
        self._load = lru_cache(_CACHED)(load)
        self._settled: Settled = settle(self._places, self._load)
        self._final = lru_cache(_CACHED)(self._finished)
        self._first: dict[Place, int] = {}
        self.count = 0
        for place in self._places:
            self._first[place] = self.count + 1
            self.count += len(self._final(place)[0])

    def tables(self, network: "NucleusModel", folder: Path) -> Iterator[pd.DataFrame]:
        """Yield the nuclei, tile by tile.

        Parameters
        ----------
        network : NucleusModel
            Types the nuclei, if it does so by their neighbours: all at once.
        folder : Path
            Where there is room for their features.

        Yields
        ------
        DataFrame
            Rows as `ResultWriter.append` takes them.
        """
        types: tuple[NDArray, NDArray] | None = None
        if network.classifies_nuclei:
            types = self._typed(network, folder)
        for place in self._places:
            tile, regions = self._final(place)
            start = self._first[place]
            labels = np.arange(start, start + len(tile))
            table = tile.table.assign(label=labels, region=regions)
            if types is not None:
                table["type"], table["type_prob"] = (values[labels - 1] for values in types)
            if len(table):
                yield table

    def paint(self, writer: ResultWriter) -> Iterator[float]:
        """Write the labels.

        Parameters
        ----------
        writer : ResultWriter
            Takes them.

        Yields
        ------
        float
            Share of the image that is written.
        """
        height, width = self._slide.shape
        reach: dict[tuple[int, int], list[Place]] = {}
        for place in self._places:
            tile, _ = self._final(place)
            if not len(tile):
                continue
            x0, y0 = tile.table[["x0", "y0"]].min() // _BLOCK
            x1, y1 = (tile.table[["x1", "y1"]].max() - 1) // _BLOCK
            for block in np.ndindex(int(y1 - y0 + 1), int(x1 - x0 + 1)):
                reach.setdefault((int(y0) + block[0], int(x0) + block[1]), []).append(place)
        for done, (block, places) in enumerate(sorted(reach.items()), 1):
            y, x = block[0] * _BLOCK, block[1] * _BLOCK
            canvas = np.zeros((min(_BLOCK, height - y), min(_BLOCK, width - x)), np.int32)
            for place in places:
                tile, _ = self._final(place)
                start = self._first[place]
                paint(canvas, x, y, tile.runs, np.arange(start, start + len(tile)))
            writer.write_labels(x, y, canvas)
            yield done / len(reach)

    def _finished(self, place: Place) -> tuple[TileNuclei, NDArray[np.object_]]:
        """Return the nuclei of a tile that are kept, with the pixels that are theirs."""
        tile = self._load(place)
        if tile is None:
            return _EMPTY, np.empty(0, object)
        keep = np.ones(len(tile), bool)
        keep[list(self._settled.dropped.get(place, ()))] = False
        for index, others in sorted(self._settled.trimmed.get(place, {}).items()):
            changed = self._trimmed(tile, index, others)
            keep[index] &= changed is not None
            tile = changed or tile
        regions = self._regions(tile.table)
        keep &= pd.notna(regions)
        return _only(tile, keep), regions[keep]

    def _trimmed(
        self, tile: TileNuclei, index: int, others: list[tuple[Place, int]]
    ) -> TileNuclei | None:
        """Return a tile one of whose nuclei leaves pixels to others, None if too few are left."""
        x0, y0, x1, y1 = tile.table[["x0", "y0", "x1", "y1"]].to_numpy()[index].tolist()
        canvas = np.zeros((y1 - y0, x1 - x0), np.int32)
        own = np.zeros(len(tile), np.int32)
        own[index] = 1
        paint(canvas, x0, y0, tile.runs, own)
        before = canvas.sum()
        for place, number in others:
            other = self._load(place)
            assert other is not None
            marked = np.zeros(len(other), np.int32)
            marked[number] = 2
            paint(canvas, x0, y0, other.runs, marked)
        parts = components(canvas == 1, connectivity=1)
        sizes = np.bincount(parts.ravel())[1:]
        if 2 * sizes.max(initial=0) <= before:
            return None
        mask = (parts == sizes.argmax() + 1).astype(np.int32)
        rgb = self._slide.read(x0, y0, x1 - x0, y1 - y0)
        row = measure(mask, rgb, self._mpp, (x0, y0), self._slide.white)
        kept = tile.table.columns.difference(row.columns)
        row = row.assign(**tile.table.loc[[index], kept].reset_index(drop=True))[tile.table.columns]
        parts_of_table = [tile.table[:index], row, tile.table[index + 1 :]]
        table = pd.concat(parts_of_table, ignore_index=True)
        rest = tile.runs.nucleus != index
        mine = label_runs(mask)
        runs = LabelRuns(
            tile.runs.labels,
            np.concatenate([tile.runs.nucleus[rest], np.full(len(mine.x), index)]),
            np.concatenate([tile.runs.x[rest], mine.x + x0]),
            np.concatenate([tile.runs.y[rest], mine.y + y0]),
            np.concatenate([tile.runs.length[rest], mine.length]),
        )
        return replace(tile, table=table, runs=runs)

    def _typed(self, network: "NucleusModel", folder: Path) -> tuple[NDArray, NDArray]:
        """Type all nuclei at once, by features on disk."""
        centres = np.zeros((self.count, 2))
        with write_errors(folder), TemporaryFile(dir=folder) as file:
            for place in self._places:
                tile, _ = self._final(place)
                if len(tile):
                    start = self._first[place] - 1
                    centres[start : start + len(tile)] = tile.centres
                    file.write(tile.features.tobytes())
            file.flush()
            if not self.count:
                return np.empty(0, object), np.empty(0, np.float32)
            features = np.memmap(file, np.float16, "r").reshape(self.count, -1)
            return network.classify(centres, features)


def _only(tile: TileNuclei, keep: NDArray[np.bool_]) -> TileNuclei:
    """Return some nuclei of a tile."""
    if keep.all():
        return tile
    kept = keep[tile.runs.nucleus]
    runs = LabelRuns(
        np.arange(keep.sum()),
        (np.cumsum(keep) - 1)[tile.runs.nucleus[kept]],
        tile.runs.x[kept],
        tile.runs.y[kept],
        tile.runs.length[kept],
    )
    return replace(
        tile,
        table=tile.table[keep].reset_index(drop=True),
        centres=tile.centres[keep],
        depth=tile.depth[keep],
        runs=runs,
        features=tile.features[keep],
    )


_NONE = np.empty(0, np.int64)
_EMPTY = TileNuclei(
    0,
    0,
    pd.DataFrame(),
    np.empty((0, 2)),
    np.empty(0, np.float32),
    LabelRuns(_NONE, _NONE, _NONE, _NONE, _NONE),
    np.empty((0, 0), np.float16),
)
