"""Tiles made on this machine: reading, network and nuclei of different tiles go side by side."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from copy import deepcopy
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from napari_nucleus.errors import UserError
from napari_nucleus.inference.stages import Stages
from napari_nucleus.inference.tile_nuclei import TileNuclei, find_nuclei
from napari_nucleus.inference.tile_queue import TileQueue
from napari_nucleus.models import NucleusModel
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Grid, Tile

_BATCH = {"cpu": 1}
"""Tiles that a device computes at once; those that are not named, 8."""

_THREADS = 2
"""Threads in which a CPU computes a tile, however many it has: how many share a sum decides how it
is rounded, and a tile must be the same on every machine."""

_LANES = 8
"""Tiles that a CPU computes side by side, at most: each takes some 300 MB."""

_READERS = 2


def tiles_here(
    queue: TileQueue,
    slide: Slide,
    grid: Grid,
    networks: Sequence[NucleusModel],
    mpp: float,
    keep: Callable[[str, bytes], object],
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
    keep : callable
        Takes the name and the contents of every file (`Unfinished.write`).
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
            keep(file_name(tile.row, tile.column), nuclei.to_bytes())
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
    """Yield tiles with the network's maps of their windows.

    GPUs compute them in batches, CPUs several side by side.

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
        A tile, not in the order in which they were begun.
    dict of str to ndarray
        As `NucleusModel.find` takes them.

    Raises
    ------
    UserError
        If the memory of the device is too small, or the image cannot be read.
    """
    device = next(networks[0].parameters()).device.type
    if device == "cpu":
        networks = [networks[0]] * min(max(torch.get_num_threads() // _THREADS, 1), _LANES)
    size = limit = _BATCH.get(device, 8)
    idle: SimpleQueue[NucleusModel] = SimpleQueue()
    for network in networks:
        idle.put(network)

    def read(tile: Tile) -> NDArray[np.uint8]:
        with stages("reading"):
            window = tile.window
            return slide.read_scaled(grid.on_slide(window), (window.width, window.height))

    def predict(reading: list[Future[NDArray[np.uint8]]]) -> list[dict[str, NDArray]]:
        nonlocal limit
        windows = [future.result() for future in reading]
        # Always as many, because a GPU may round differently in a smaller batch.
        windows += windows[-1:] * (size - len(windows))
        images = torch.from_numpy(np.stack(windows)).movedim(-1, 1)
        network = idle.get()
        try:
            while True:
                at_once = limit
                try:
                    with stages("network"):
                        parts = map(network.predict, images.split(at_once))
                        return [maps for part in parts for maps in part]
                except torch.OutOfMemoryError:
                    if at_once == 1:
                        raise UserError(
                            "The GPU's memory does not hold one tile: choose the CPU."
                        ) from None
                    limit = min(limit, at_once // 2)
                    torch.cuda.empty_cache()
        finally:
            idle.put(network)

    ahead: list[Tile] = []
    computing: dict[Future[list[dict[str, NDArray]]], list[Tile]] = {}
    with ExitStack() as stack:
        readers = ThreadPoolExecutor(_READERS)
        lanes = ThreadPoolExecutor(len(networks), initializer=_set_threads)
        for pool in (readers, lanes):
            stack.callback(pool.shutdown, cancel_futures=True)
        while True:
            while len(computing) < 2 * len(networks):
                while len(queue) and len(ahead) < size:
                    ahead.append(queue.take())
                if not ahead:
                    break
                batch = _alike(ahead)
                del ahead[: len(batch)]
                reading = [readers.submit(read, tile) for tile in batch]
                # in the context of this thread, by which a job is cancelled within a tile
                computing[lanes.submit(copy_context().run, predict, reading)] = batch
            if not computing:
                return
            for future in wait(computing, return_when=FIRST_COMPLETED).done:
                yield from zip(computing.pop(future), future.result(), strict=False)


def on_every_gpu(network: NucleusModel) -> list[NucleusModel]:
    """Return a network, and if it is on the first GPU, copies of it on all others of its kind.

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
    # of other kinds they would round differently
    first, *others = map(torch.cuda.get_device_name, range(torch.cuda.device_count()))
    same = (index for index, name in enumerate(others, 1) if name == first)
    return [network, *(deepcopy(network).to(f"cuda:{index}") for index in same)]


def _set_threads() -> None:
    torch.get_num_threads()  # which PyTorch would set when it first computes
    threadpool_limits(_THREADS, user_api="openmp")


def _alike(tiles: Sequence[Tile]) -> list[Tile]:
    """Return the first tiles that have windows of one size."""
    first = tiles[0].window
    batch = []
    for tile in tiles:
        if (tile.window.width, tile.window.height) != (first.width, first.height):
            break
        batch.append(tile)
    return batch
