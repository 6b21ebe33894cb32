"""From a slide to a result folder: tiles, network, nuclei, stitched without seams, streamed."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_nucleus.errors import UserError
from napari_nucleus.inference.areas import areas_to_segment
from napari_nucleus.inference.deferred_types import DeferredTypes
from napari_nucleus.inference.steps import at_once
from napari_nucleus.inference.stitching import BAND, Stitcher
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.models.devices import memory_format, pick_device
from napari_nucleus.nucleus_types import UNTYPED, type_colors
from napari_nucleus.results import Result, ResultWriter
from napari_nucleus.results.regions import Regions
from napari_nucleus.slides import Slide, check_mpp, open_slide, slide_from_arrays
from napari_nucleus.slides.tiles import Box, Grid, Tile, map_stride
from napari_nucleus.weights.store import DEFAULT_MODEL

TILE = 640
"""Side of a tile's core in network pixels."""

MARGIN = 128
"""Network pixels that a tile sees around its core: wider than any nucleus, and than nearly all of
what the network makes of a place beyond the edge."""

_BATCH = {"cpu": 1}
"""Tiles that a device computes at once; those that are not named, 8."""


@dataclass(frozen=True)
class Progress:
    """Progress of a segmentation.

    Attributes
    ----------
    done, total : int
        Tiles done, and in all.
    nuclei : int
        Nuclei found so far.
    """

    done: int
    total: int
    nuclei: int


def segment_steps(
    image: str | Path | Slide,
    out: str | Path,
    model: str | Path | NucleusModel = DEFAULT_MODEL,
    *,
    mpp: float | None = None,
    region: tuple[int, int, int, int] | None = None,
    regions: Regions | None = None,
    device: str | None = None,
    tile: int = TILE,
) -> Generator[Progress, None, Result]:
    """Find, outline, type and measure every nucleus of an image.

    `segment` does it at once and returns the result; `segment_steps` yields after every tile.
    Image, labels and table are read and written tile by tile, so that memory does not grow with
    the image. An earlier result at `out` stays until the new one is whole; closing the generator
    cancels and leaves everything as it was.

    Parameters
    ----------
    image : str or Path or Slide
        File or opened slide.
    out : str or Path
        Result folder to write, ``<stem>.nucleus``.
    model : str or Path or NucleusModel
        Name or file of a checkpoint, or a loaded model.
    mpp : float or None
        Micrometres per level-0 pixel, where the file holds none or a wrong one.
    region : tuple[int, int, int, int] | None
        ``(x, y, width, height)`` in level-0 pixels; None is the whole image.
    regions : mapping of str to sequence of tuple of 2 float or None
        In place of `region`, the outline of every region by its name: corners (x, y) in level-0
        pixels, whose centres have whole coordinates. Nuclei centred in one of them are taken, once
        where they overlap, for the first; the column `region` of the table names it.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"mps"``, …; None takes the GPU where there is one.
    tile : int
        Side of a tile's core in network pixels. The result hardly depends on it: what is left is
        how far beyond `MARGIN` the network sees.

    Yields
    ------
    Progress
        Before the first tile and after every one; after the last, once all nuclei have their types.

    Returns
    -------
    Result
        The finished result folder.

    Raises
    ------
    UserError
        If the image, the model or a region cannot be used, another run writes to `out`, `out` has
        corrections or belongs to another image, or the disk is full.
    ValueError
        If both `region` and `regions` are given.

    Examples
    --------
    A blank image has no nuclei:

    >>> from tempfile import TemporaryDirectory
    >>> blank = slide_from_arrays([np.full((64, 64, 3), 240, np.uint8)], mpp=0.25)
    >>> with TemporaryDirectory() as folder:
    ...     result = segment(blank, f"{folder}/blank.nucleus", device="cpu")
    ...     len(result.table())
    0
    """
    started = time.perf_counter()
    slide = image if isinstance(image, Slide) else open_slide(image, mpp)
    resolution = slide.require_mpp() if mpp is None else check_mpp(mpp)
    network = model if isinstance(model, NucleusModel) else load_checkpoint(model)
    chosen = pick_device(device)
    network = network.eval().to(chosen).to(memory_format=memory_format(chosen))
    scale = network.mpp / resolution
    areas = areas_to_segment(slide, region, regions, BAND * scale)
    grids = [Grid(area.box, slide.shape, scale, network.stride) for area in areas]
    tiles = [list(grid.tiles(tile, MARGIN)) for grid in grids]
    total = sum(map(len, tiles))
    run = {
        "source": slide.source(),
        "model": {
            "name": network.name,
            "sha256": network.sha256,
            "mpp": network.mpp,
            "types": list(network.types),
        },
        "options": {
            "region": region,
            "regions": regions
            and {name: [(float(x), float(y)) for x, y in line] for name, line in regions.items()},
            "tile": tile,
            "instances": network.instances,
        },
        "device": str(chosen),
    }
    colors = type_colors(network.types or [UNTYPED])
    with (
        ResultWriter(out, slide.shape, resolution, colors, run) as writer,
        DeferredTypes(writer.target.parent) as deferred,
    ):
        yield Progress(0, total, 0)
        done = count = 0
        for area, grid, pieces in zip(areas, grids, tiles, strict=True):
            stitcher = Stitcher(slide, grid, network, writer, deferred, resolution, area, count)
            for piece, maps in _maps(slide, grid, pieces, network):
                stitcher.add(piece, maps)
                done, count = done + 1, stitcher.count
                if done < total:
                    yield Progress(done, total, count)
        for rows in deferred.typed(network):
            writer.append(rows)
        yield Progress(total, total, count)
        return writer.finish(seconds={"total": round(time.perf_counter() - started, 2)})


segment = at_once(segment_steps)


def predict_image(
    image: np.ndarray, network: NucleusModel, tile: int = TILE
) -> dict[str, np.ndarray]:
    """Compute a network's maps of an image that fits into memory, tile by tile.

    Parameters
    ----------
    image : (H, W, 3) ndarray of uint8
        At the network's µm/px.
    network : NucleusModel
        In evaluation mode.
    tile : int
        Side of a tile's core in pixels.

    Returns
    -------
    dict
        Maps as `NucleusModel.nuclei` takes them. Those of a lower resolution keep it; see
        `map_stride`.
    """
    height, width = image.shape[:2]
    slide = slide_from_arrays([image], network.mpp)
    grid = Grid(Box(0, 0, width, height), (height, width), 1, network.stride)
    whole: dict[str, np.ndarray] = {}
    for piece, maps in _maps(slide, grid, list(grid.tiles(tile, MARGIN)), network):
        core, window = piece.core, piece.window
        for key, part in maps.items():
            stride = map_stride((window.height, window.width), part.shape[-2:])
            if key not in whole:
                size = (-(-height // stride), -(-width // stride))
                whole[key] = np.empty((*part.shape[:-2], *size), part.dtype)
            target = _cells(core, Box(0, 0, width, height), stride)
            whole[key][..., *target] = part[..., *_cells(core, window, stride)]
    return whole


def _cells(box: Box, window: Box, stride: int) -> tuple[slice, slice]:
    """Return the rows and columns of a window's map that cover a box."""
    left, top = (box.x0 - window.x0) // stride, (box.y0 - window.y0) // stride
    return (
        slice(top, top - (-box.height // stride)),
        slice(left, left - (-box.width // stride)),
    )


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
