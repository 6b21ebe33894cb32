"""Tiles made on this machine: reading, network and nuclei of different tiles go side by side."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.inference.stages import Stages
from napari_nucleus.inference.tile_nuclei import TileNuclei, find_nuclei
from napari_nucleus.inference.tile_queue import TileQueue
from napari_nucleus.models import NucleusModel
from napari_nucleus.results.unfinished import Unfinished
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Grid, Tile

_BATCH = {"cpu": 1}
"""Tiles that a device computes at once; those that are not named, 8."""

_READERS = 2


def tiles_here(
    queue: TileQueue,
    slide: Slide,
    grid: Grid,
    networks: Sequence[NucleusModel],
    mpp: float,
    store: Unfinished,
    stages: Stages,
) -> Iterator[TileNuclei]:
    """Make tiles, keep them in files, and yield them as they are finished.

    Parameters
    ----------
    queue : TileQueue
        The tiles, taken one by one.
    slide : Slide
        The image.
    grid : Grid
        Its tiles.
    networks : sequence of NucleusModel
        The network in evaluation mode, once on every device that is to be used.
    mpp : float
        µm per level-0 pixel.
    store : Unfinished
        Takes the files.
    stages : Stages
        Takes the times.

    Yields
    ------
    TileNuclei
        Not in the order in which they were begun.

    Raises
    ------
    UserError
        If the memory of the device is too small, the image cannot be read, or the disk is full.
    """

    def finish(tile: Tile, maps: dict[str, NDArray]) -> TileNuclei:
        with stages("nuclei"):
            nuclei = find_nuclei(slide, grid, networks[0], tile, maps, mpp)
        with stages("writing"):
            store.write(file_name(tile.row, tile.column), nuclei.to_bytes())
        return nuclei

    workers = max((os.cpu_count() or 2) // 2, 1)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(pool.shutdown, cancel_futures=True)  # before it waits for what is running
        finishing: set[Future[TileNuclei]] = set()
        for tile, maps in compute_maps(queue, slide, grid, networks, stages):
            finishing.add(pool.submit(finish, tile, maps))
            enough = len(finishing) > 2 * workers
            ready, finishing = wait(finishing, None if enough else 0, FIRST_COMPLETED)
            for future in ready:
                yield future.result()
        while finishing:
            ready, finishing = wait(finishing, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()


def file_name(row: int, column: int) -> str:
    """Return the name of a tile's file.

    Parameters
    ----------
    row, column : int
        Place of the tile in the grid.
    """
    return f"{row}-{column}.npz"


def compute_maps(
    queue: TileQueue,
    slide: Slide,
    grid: Grid,
    networks: Sequence[NucleusModel],
    stages: Stages,
) -> Iterator[tuple[Tile, dict[str, NDArray]]]:
    """Yield tiles with the network's maps of their windows, computed in batches.

    Parameters
    ----------
    queue : TileQueue
        The tiles, taken one by one.
    slide : Slide
        The image.
    grid : Grid
        Its tiles.
    networks : sequence of NucleusModel
        The network in evaluation mode, once on every device that is to be used.
    stages : Stages
        Takes the times.

    Yields
    ------
    Tile
        A tile.
    dict of str to ndarray
        As `NucleusModel.find` takes them.

    Raises
    ------
    UserError
        If the memory of the device is too small, or the image cannot be read.
    """

    def read(tile: Tile) -> NDArray[np.uint8]:
        with stages("reading"):
            window = tile.window
            return slide.read_scaled(grid.on_slide(window), (window.width, window.height))

    limit = _BATCH.get(next(networks[0].parameters()).device.type, 8) * len(networks)
    reading: deque[tuple[Tile, Future[NDArray[np.uint8]]]] = deque()
    with ExitStack() as stack:
        readers = stack.enter_context(ThreadPoolExecutor(_READERS))
        stack.callback(readers.shutdown, cancel_futures=True)
        gpus = stack.enter_context(ThreadPoolExecutor(len(networks)))
        while len(queue) or reading:
            while len(queue) and len(reading) < 2 * limit:
                tile = queue.take()
                reading.append((tile, readers.submit(read, tile)))
            batch = _alike([tile for tile, _ in reading], limit)
            windows = [future.result() for _, future in list(reading)[: len(batch)]]
            # Always as many, because a GPU may round differently in a smaller batch.
            windows += windows[-1:] * (limit - len(batch))
            images = torch.from_numpy(np.stack(windows)).movedim(-1, 1)
            try:
                with stages("network"):
                    if len(networks) == 1:  # in this thread, where it can be cancelled
                        maps = networks[0].predict(images)
                    else:
                        parts = images.chunk(len(networks))
                        answers = gpus.map(lambda net, part: net.predict(part), networks, parts)
                        maps = [one for answer in answers for one in answer]
            except torch.OutOfMemoryError:
                if limit == 1:
                    raise UserError(
                        "The GPU's memory does not hold one tile: choose the CPU."
                    ) from None
                limit //= 2
                torch.cuda.empty_cache()
                continue
            for _ in batch:
                reading.popleft()
            yield from zip(batch, maps, strict=False)


def on_every_gpu(network: NucleusModel) -> list[NucleusModel]:
    """Return a network, and if it is on the first GPU, copies of it on the machine's others.

    Parameters
    ----------
    network : NucleusModel
        On its device.

    Returns
    -------
    list of NucleusModel
        The network first.
    """
    device = next(network.parameters()).device
    if device != torch.device("cuda", 0):
        return [network]
    others = range(1, torch.cuda.device_count())
    return [network, *(deepcopy(network).to(f"cuda:{index}") for index in others)]


def _alike(tiles: Sequence[Tile], limit: int) -> list[Tile]:
    """Return the first tiles that have windows of one size, at most `limit`."""
    first = tiles[0].window
    batch = []
    for tile in tiles[:limit]:
        if (tile.window.width, tile.window.height) != (first.width, first.height):
            break
        batch.append(tile)
    return batch
