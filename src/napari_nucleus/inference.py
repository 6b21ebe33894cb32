"""From a slide to a result folder: tiles, network, nuclei, stitched without seams, streamed."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from shapely import Polygon, contains_xy

from napari_nucleus.checkpoints import DEFAULT_MODEL, load_checkpoint
from napari_nucleus.devices import pick_device
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.models import NucleusModel
from napari_nucleus.result import Result, ResultWriter
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays
from napari_nucleus.tiles import Box, Grid, Tile
from napari_nucleus.types import type_colors

TILE = 640
"""Side of a tile's core in network pixels."""

MARGIN = 128
"""Network pixels that a tile sees around its core: wider than any nucleus, and than nearly all of
what the network makes of a place beyond the edge."""

_BAND = 8
"""Network pixels by which two tiles may disagree on a nucleus's centre."""

_BATCH = {"cpu": 1}
"""Tiles that a device computes at once; those that are not named, 8."""


@dataclass(frozen=True)
class Progress:
    """How far a segmentation is.

    Attributes
    ----------
    done, total
        Tiles done, and in all.
    nuclei
        Nuclei found so far.
    """

    done: int
    total: int
    nuclei: int


def segment(
    image: str | Path | Slide,
    out: str | Path,
    model: str | Path | NucleusModel = DEFAULT_MODEL,
    *,
    mpp: float | None = None,
    region: tuple[int, int, int, int] | None = None,
    outline: Sequence[tuple[float, float]] | None = None,
    device: str | None = None,
    tile: int = TILE,
) -> Result:
    """Find, outline, type and measure every nucleus of an image.

    Parameters and errors are those of `segment_steps`.

    Returns
    -------
    Result
        The finished result folder.
    """
    steps = segment_steps(
        image, out, model, mpp=mpp, region=region, outline=outline, device=device, tile=tile
    )
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def segment_steps(
    image: str | Path | Slide,
    out: str | Path,
    model: str | Path | NucleusModel = DEFAULT_MODEL,
    *,
    mpp: float | None = None,
    region: tuple[int, int, int, int] | None = None,
    outline: Sequence[tuple[float, float]] | None = None,
    device: str | None = None,
    tile: int = TILE,
) -> Generator[Progress, None, Result]:
    """Find, outline, type and measure every nucleus of an image, tile by tile.

    Image, labels and table are read and written tile by tile, so that memory does not grow with
    the image. An earlier result at `out` stays until the new one is whole; closing the generator
    cancels and leaves everything as it was.

    Parameters
    ----------
    image
        File or opened slide.
    out
        Result folder to write, ``<stem>.nucleus``.
    model
        Name or file of a checkpoint, or a loaded model.
    mpp
        Micrometres per level-0 pixel, where the file does not tell or is wrong.
    region
        ``(x, y, width, height)`` in level-0 pixels; None is the whole image.
    outline
        Corners (x, y) of a polygon in level-0 pixels, whose centres have whole coordinates: nuclei
        centred outside of it are left out. Give its bounding box as `region`.
    device
        ``"cpu"``, ``"cuda"``, …; None takes the GPU where there is one.
    tile
        Side of a tile's core in network pixels. The result hardly depends on it: what is left is
        how far beyond `MARGIN` the network sees.

    Yields
    ------
    Progress
        Before the first tile and after every one.

    Returns
    -------
    Result
        As the generator's value.

    Raises
    ------
    UserError
        If the image, the model or the region cannot be used, or the disk is full.
    """
    started = time.perf_counter()
    slide = image if isinstance(image, Slide) else open_slide(image, mpp)
    resolution = mpp or slide.mpp
    if resolution is None:
        raise UserError(
            f"{slide.name} does not tell its µm/px: give it "
            "(about 0.25 for a 40x scan, 0.5 for 20x)."
        )
    network = model if isinstance(model, NucleusModel) else load_checkpoint(model)
    place = pick_device(device)
    network = network.eval().to(place).to(memory_format=torch.channels_last)
    grid = Grid(_region(slide, region), slide.shape, network.mpp / resolution)
    tiles = list(grid.tiles(tile, MARGIN))
    run = {
        "source": {
            "path": str(slide.path.resolve()) if slide.path else None,
            "sha256": slide.digest(),
        },
        "model": {
            "name": network.name,
            "sha256": network.sha256,
            "mpp": network.mpp,
            "types": list(network.types),
        },
        "options": {
            "region": region,
            "outline": outline,
            "tile": tile,
            "instances": network.instances,
        },
        "device": str(place),
    }
    colors = type_colors(network.types or ["nucleus"])
    with ResultWriter(out, slide.shape, resolution, colors, run) as writer:
        shape = None if outline is None else Polygon(outline).buffer(0)
        stitcher = _Stitcher(slide, grid, network, writer, resolution, shape)
        yield Progress(0, len(tiles), 0)
        for done, (piece, maps) in enumerate(_maps(slide, grid, tiles, network), 1):
            stitcher.add(piece, maps)
            yield Progress(done, len(tiles), stitcher.count)
        return writer.finish(seconds={"total": round(time.perf_counter() - started, 2)})


def predict_image(
    image: np.ndarray, network: NucleusModel, tile: int = TILE
) -> dict[str, np.ndarray]:
    """Compute a network's maps of an image that fits into memory, tile by tile.

    Parameters
    ----------
    image
        Uint8 (H, W, 3) at the network's µm/px.
    network
        In evaluation mode.
    tile
        Side of a tile's core in pixels.

    Returns
    -------
    dict
        What `NucleusModel.nuclei` takes.
    """
    height, width = image.shape[:2]
    slide = slide_from_arrays([image], network.mpp)
    grid = Grid(Box(0, 0, width, height), (height, width), 1)
    whole: dict[str, np.ndarray] = {}
    for piece, maps in _maps(slide, grid, list(grid.tiles(tile, MARGIN)), network):
        core, window = piece.core, piece.window
        left, top = core.x0 - window.x0, core.y0 - window.y0
        for key, part in maps.items():
            if key not in whole:
                whole[key] = np.empty((*part.shape[:-2], height, width), part.dtype)
            own = part[..., top : top + core.height, left : left + core.width]
            whole[key][..., core.y0 : core.y1, core.x0 : core.x1] = own
    return whole


def _region(slide: Slide, region: tuple[int, int, int, int] | None) -> Box:
    height, width = slide.shape
    x, y, w, h = region or (0, 0, width, height)
    box = Box(max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
    if box.width < 1 or box.height < 1:
        raise UserError(
            f"The region {(x, y, w, h)} (x, y, width, height) holds no pixel of {slide.name}, "
            f"which is {width} x {height} px: choose another."
        )
    return box


def _maps(
    slide: Slide, grid: Grid, tiles: list[Tile], network: NucleusModel
) -> Iterator[tuple[Tile, dict[str, np.ndarray]]]:
    """Yield every tile with the network's maps of its window, computed in batches."""
    limit = _BATCH.get(next(network.parameters()).device.type, 8)
    waiting = tiles
    while waiting:
        batch = _alike(waiting, limit)
        windows = [tile.window for tile in batch]
        pixels = np.stack(
            [slide.read_scaled(grid.on_slide(w), (w.width, w.height)) for w in windows]
        )
        try:
            maps = network.predict(torch.from_numpy(pixels).movedim(-1, 1))
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise UserError(
                    "The GPU's memory does not hold one tile: choose the CPU or a smaller tile."
                ) from None
            limit = len(batch) // 2
            torch.cuda.empty_cache()
            continue
        waiting = waiting[len(batch) :]
        yield from zip(batch, maps, strict=True)


def _alike(tiles: list[Tile], limit: int) -> list[Tile]:
    """Return the first tiles that have windows of one size, at most `limit`."""
    first = tiles[0].window
    batch = []
    for tile in tiles[:limit]:
        if (tile.window.width, tile.window.height) != (first.width, first.height):
            break
        batch.append(tile)
    return batch


class _Stitcher:
    """Writes the nuclei of each tile once.

    A nucleus belongs to the tile in whose core its centre lies. Two tiles that see a nucleus at
    their seam may disagree on its centre by a little, so a tile also takes nuclei centred just
    before its core, unless what it would write is already there.
    """

    def __init__(
        self,
        slide: Slide,
        grid: Grid,
        network: NucleusModel,
        writer: ResultWriter,
        mpp: float,
        shape: Polygon | None,
    ) -> None:
        self.slide = slide
        self.grid = grid
        self.network = network
        self.writer = writer
        self.mpp = mpp
        self.shape = shape
        self.count = 0

    def add(self, tile: Tile, maps: dict[str, np.ndarray]) -> None:
        """Turn the maps of a tile's window into nuclei and write those that are new."""
        labels, table = self.network.nuclei(maps)
        mine = table[_owned(table, tile) & self._inside(table, tile)]
        if mine.empty:
            return
        # neighbours keep their pixels while outlines are smoothed, whoever owns them
        labels, box = self.grid.to_slide(labels, maps["np"], self.network.threshold, tile.window)
        labels = _only(labels, mine["label"].to_numpy())
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
        measured = measure(labels, self.slide.read(x, y, width, height), self.mpp, origin=(x, y))
        kept = mine.set_index("label").loc[found]
        measured["type"] = kept["type"].to_numpy()
        measured["type_prob"] = kept["type_prob"].to_numpy()
        self.writer.append(measured)

    def _inside(self, table: pd.DataFrame, tile: Tile) -> np.ndarray:
        """Tell which nuclei of a window are centred in the shape asked for."""
        if self.shape is None:
            return np.ones(len(table), bool)
        left, top, _, _ = self.grid.on_slide(tile.window)
        x, y = (
            (table[axis].to_numpy() + 0.5) * self.grid.scale + edge - 0.5
            for axis, edge in (("centroid_x", left), ("centroid_y", top))
        )
        return contains_xy(self.shape, x, y)


def _owned(table: pd.DataFrame, tile: Tile) -> pd.Series:
    x = table["centroid_x"] + tile.window.x0
    y = table["centroid_y"] + tile.window.y0
    # at the region's own edge there is no tile before this one that could have lost a nucleus
    left = tile.core.x0 - (_BAND if tile.core.x0 > 0 else 0)
    top = tile.core.y0 - (_BAND if tile.core.y0 > 0 else 0)
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
