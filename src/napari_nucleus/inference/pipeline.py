"""From a slide to a result folder: tiles, network, nuclei, joined without seams, streamed."""

import time
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.inference.areas import Area, area_to_segment
from napari_nucleus.inference.assemble import Assembly
from napari_nucleus.inference.cluster import connected
from napari_nucleus.inference.on_this_machine import (
    compute_maps,
    file_name,
    on_every_gpu,
    tiles_here,
)
from napari_nucleus.inference.seams import Place
from napari_nucleus.inference.stages import Stages
from napari_nucleus.inference.steps import at_once
from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.inference.tile_queue import TileQueue, View
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.models.devices import memory_format, pick_device
from napari_nucleus.nucleus_types import UNTYPED, type_colors
from napari_nucleus.results import Result, ResultWriter
from napari_nucleus.results.regions import Regions
from napari_nucleus.results.unfinished import Unfinished
from napari_nucleus.slides import Slide, check_mpp, open_slide, slide_from_arrays
from napari_nucleus.slides.tiles import Box, Grid, Tile, map_stride
from napari_nucleus.slides.tissue import Tissue, find_tissue
from napari_nucleus.weights.store import DEFAULT_MODEL

_REACH = 128
"""Network pixels beyond what is asked for whose tiles may have a say in it: more than a nucleus and
`tile_nuclei.BAND` are wide."""


@dataclass(frozen=True)
class Progress:
    """Progress of a segmentation.

    Attributes
    ----------
    done, total : int
        Tiles done, and in all.
    nuclei : int
        Nuclei found so far.
    tile : TileNuclei or None
        What was done last; it may share nuclei with its neighbours.
    own : (N,) ndarray of bool or None
        Which of its nuclei are centred in the tile, and in what is asked for.
    joined : float
        Share of the last pass, which makes labels and table of the tiles.
    kept : int
        Tiles that an earlier run had done.
    """

    done: int
    total: int
    nuclei: int
    tile: TileNuclei | None = None
    own: NDArray[np.bool_] | None = None
    joined: float = 0.0
    kept: int = 0


def segment_steps(
    image: str | Path | Slide,
    out: str | Path,
    model: str | Path | NucleusModel = DEFAULT_MODEL,
    *,
    mpp: float | None = None,
    region: tuple[int, int, int, int] | None = None,
    regions: Regions | None = None,
    tissue: Tissue | Literal["all"] | None = None,
    device: str | None = None,
    view: View | None = None,
    scheduler: str | None = None,
) -> Generator[Progress, None, Result]:
    """Find, outline, type and measure every nucleus of an image.

    `segment` does it at once and returns the result; `segment_steps` yields after every tile.
    Image, labels and table are read and written tile by tile, so that memory does not grow with
    the image. Nuclei depend on image, model and settings alone, not on the order of the tiles, on
    the region, or on who computes.

    Every finished tile is kept in ``<out>.unfinished`` until the result is whole. After closing
    the generator, a failure or a crash, the same call goes on from there; an earlier result at
    `out` stays as it was until then.

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
    tissue : Tissue or "all" or None
        Tiles without tissue are left out. None finds it (`find_tissue`).
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"mps"``, …; None takes the GPUs where there are some.
    view : callable or None
        Returns the centre (x, y) of what is looked at, in level-0 pixels: the tiles nearest to it
        are done first. None does them row by row.
    scheduler : str or None
        Address of a dask.distributed scheduler, whose workers make the tiles and can read the
        image under the same path; ``"local:N"`` starts one with N workers on this machine.

    Yields
    ------
    Progress
        Before the first tile, after every one, and while they are joined.

    Returns
    -------
    Result
        The finished result folder.

    Raises
    ------
    UserError
        If the image, the model or a region cannot be used, another run writes to `out`, `out` has
        corrections or belongs to another image, an unfinished run there had other settings, or the
        disk is full.
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
    if slide.mpp != resolution:
        slide = replace(slide, mpp=resolution)
    network = model if isinstance(model, NucleusModel) else load_checkpoint(model)
    area = area_to_segment(slide, region, regions)
    grid = _grid(slide, network, resolution)
    found = None if tissue == "all" else find_tissue(slide) if tissue is None else tissue
    tiles = [tile for tile in grid.tiles() if _is_wanted(tile, grid, area, found)]
    places = {(tile.row, tile.column): tile for tile in tiles}
    options = {
        "region": region,
        "regions": regions
        and {name: [(float(x), float(y)) for x, y in line] for name, line in regions.items()},
        "tissue": tissue.digest() if isinstance(tissue, Tissue) else tissue,
    }

    def load(place: Place) -> TileNuclei | None:
        data = store.read(file_name(*place))
        try:
            return None if data is None else TileNuclei.from_bytes(data, resolution)
        except ValueError:  # damaged: it is made again
            return None

    def load_finished(place: Place) -> TileNuclei | None:
        nuclei = load(place)
        if nuclei is None and place in places:
            raise UserError(
                f"{store.folder / file_name(*place)} is damaged or gone: segment again, which "
                "makes it again."
            )
        return nuclei

    stages = Stages()
    with ExitStack() as stack:
        cluster = None
        if scheduler is not None:
            cluster = stack.enter_context(connected(scheduler, slide, device))
        chosen = pick_device("cpu" if cluster else device)
        network = network.eval().to(chosen).to(memory_format=memory_format(chosen))
        run = {
            "source": slide.source(),
            "model": {
                "name": network.name,
                "sha256": network.sha256,
                "mpp": network.mpp,
                "types": list(network.types),
            },
            "options": {**options, "instances": network.instances},
            "tissue": 1.0 if found is None else round(found.share, 4),
            "device": cluster.device if cluster else str(chosen),
        }
        colors = type_colors(network.types or [UNTYPED])
        writer = stack.enter_context(ResultWriter(out, slide.shape, resolution, colors, run))
        store = Unfinished(
            Path(out),
            {
                **options,
                "instances": network.instances,
                "sha256": slide.digest(),
                "mpp": resolution,
                "model": network.sha256,
                "version": version("napari-nucleus"),
            },
            len(tiles),
        )
        yield Progress(0, len(tiles), 0)
        done = kept = count = 0
        missing = []
        for place, tile in places.items():
            nuclei = load(place)
            if nuclei is None:
                missing.append(tile)
                continue
            done, kept, own = done + 1, kept + 1, _own(nuclei, grid, area)
            count += int(own.sum())
            yield Progress(done, len(tiles), count, nuclei, own, kept=kept)
        queue = TileQueue(missing, grid, view)
        if cluster:
            finished = cluster.tiles(queue, grid, network, store, stages)
        else:
            networks = on_every_gpu(network) if device is None else [network]
            finished = tiles_here(queue, slide, grid, networks, resolution, store.write, stages)
        for nuclei in finished:
            done, own = done + 1, _own(nuclei, grid, area)
            count += int(own.sum())
            yield Progress(done, len(tiles), count, nuclei, own, kept=kept)
        with stages("joining"):
            assembly = Assembly(places, load_finished, slide, grid, resolution, area.names)
            for table in assembly.tables(network, writer.target.parent):
                writer.append(table)
            for share in assembly.paint(writer):
                yield Progress(done, len(tiles), assembly.count, joined=share, kept=kept)
        seconds = {"total": time.perf_counter() - started, **stages.seconds}
        result = writer.finish(seconds={name: round(value, 2) for name, value in seconds.items()})
    store.remove()
    return result


segment = at_once(segment_steps)


def predict_image(image: np.ndarray, network: NucleusModel) -> dict[str, np.ndarray]:
    """Compute a network's maps of an image that fits into memory, tile by tile.

    Parameters
    ----------
    image : (H, W, 3) ndarray of uint8
        At the network's µm/px.
    network : NucleusModel
        In evaluation mode.

    Returns
    -------
    dict
        Maps as `NucleusModel.nuclei` takes them. Those of a lower resolution keep it; see
        `map_stride`.
    """
    height, width = image.shape[:2]
    slide = slide_from_arrays([image], network.mpp)
    grid = _grid(slide, network, network.mpp)
    whole: dict[str, np.ndarray] = {}
    queue = TileQueue(grid.tiles(), grid, None)
    for tile, maps in compute_maps(queue, slide, grid, [network], Stages()):
        core, window = tile.core, tile.window
        for key, part in maps.items():
            stride = map_stride((window.height, window.width), part.shape[-2:])
            if key not in whole:
                size = (-(-height // stride), -(-width // stride))
                whole[key] = np.empty((*part.shape[:-2], *size), part.dtype)
            target = _cells(core, grid.extent, stride)
            whole[key][..., *target] = part[..., *_cells(core, window, stride)]
    return whole


def _grid(slide: Slide, network: NucleusModel, mpp: float) -> Grid:
    scale = network.mpp / mpp
    return Grid(slide.shape, scale, network.stride, network.tile, network.margin)


def _is_wanted(tile: Tile, grid: Grid, area: Area, tissue: Tissue | None) -> bool:
    """Tell whether a tile holds some of the area, or disputes with one that does, and tissue."""
    if not area.meets(grid.on_slide(tile.core.grown(_REACH, grid.extent))):
        return False
    return tissue is None or tissue.covers(*grid.on_slide(tile.core))


def _own(nuclei: TileNuclei, grid: Grid, area: Area) -> NDArray[np.bool_]:
    """Return which nuclei are centred in a tile's core, and in the area."""
    core = grid.tile(nuclei.row, nuclei.column).core
    x, y = nuclei.centres.T + 0.5
    inside = (x >= core.x0) & (x < core.x1) & (y >= core.y0) & (y < core.y1)
    return inside & ~pd.isna(area.names(nuclei.table))


def _cells(box: Box, window: Box, stride: int) -> tuple[slice, slice]:
    """Return the rows and columns of a window's map that cover a box."""
    left, top = (box.x0 - window.x0) // stride, (box.y0 - window.y0) // stride
    return (
        slice(top, top - (-box.height // stride)),
        slice(left, left - (-box.width // stride)),
    )
