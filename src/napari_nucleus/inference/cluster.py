"""Tiles made by the workers of a dask.distributed cluster."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nucleus.errors import UserError
from napari_nucleus.inference.on_this_machine import compute_maps, file_name
from napari_nucleus.inference.stages import Stages
from napari_nucleus.inference.tile_nuclei import TileNuclei, find_nuclei
from napari_nucleus.inference.tile_queue import TileQueue
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.devices import memory_format, pick_device
from napari_nucleus.results.unfinished import Unfinished
from napari_nucleus.slides import Slide, open_slide
from napari_nucleus.slides.tiles import Grid

if TYPE_CHECKING:
    from distributed import Client


def tiles_on_cluster(
    scheduler: str,
    queue: TileQueue,
    slide: Slide,
    grid: Grid,
    network: NucleusModel,
    device: str | None,
    mpp: float,
    store: Unfinished,
    stages: Stages,
) -> Iterator[TileNuclei]:
    """Make tiles on other machines, keep them in files, and yield them as they are finished.

    A tile whose worker dies is made by another.

    Parameters
    ----------
    scheduler : str
        Address of a scheduler; ``"local:N"`` starts one with N workers on this machine.
    queue : TileQueue
        The tiles, taken one by one.
    slide : Slide
        The image, a file that the workers can read under the same path.
    grid : Grid
        Its tiles.
    network : NucleusModel
        In evaluation mode.
    device : str or None
        Where the workers compute; None takes the GPU of those that have one.
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
        If the scheduler does not answer, or the image is not a file.
    """
    from distributed import as_completed

    if slide.path is None:
        raise UserError(f"{slide.name} is not a file, which other machines could read: save it.")
    with ExitStack() as stack:
        client = _connect(scheduler, stack)
        (sent,) = client.scatter([network.to("cpu")], broadcast=True)
        image = slide.path.resolve(), mpp, slide.scenes.other, slide.srgb

        def submit() -> object:
            tile = queue.take()
            return client.submit(
                _make_tile, sent, image, grid, tile.row, tile.column, device, pure=False
            )

        ahead = 2 * max(sum(client.nthreads().values()), 1)
        waiting = as_completed([submit() for _ in range(min(ahead, len(queue)))])
        for future in waiting:
            row, column, data = future.result()
            with stages("writing"):
                store.write(file_name(row, column), data)
            if len(queue):
                waiting.add(submit())
            yield TileNuclei.from_bytes(data, mpp)


def _connect(scheduler: str, stack: ExitStack) -> "Client":
    """Return a client, and a cluster of its own if that is asked for, gone with the stack."""
    from distributed import Client, LocalCluster

    kind, _, number = scheduler.partition(":")
    if kind == "local":
        if not number.isdecimal() or not int(number):
            raise UserError(f"{scheduler} starts no workers: say how many, such as local:2.")
        address: LocalCluster | str = stack.enter_context(
            LocalCluster(n_workers=int(number), threads_per_worker=1, dashboard_address=None)
        )
    else:
        address = scheduler
    try:
        client = stack.enter_context(Client(address, timeout=10))
        client.wait_for_workers(1, timeout=60)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"The scheduler {scheduler} does not answer, or has no worker ({error}): check its "
            "address, such as tcp://host:8786."
        ) from error
    return client


def _make_tile(
    network: NucleusModel,
    image: tuple[Path, float, str | None, bool],
    grid: Grid,
    row: int,
    column: int,
    device: str | None,
) -> tuple[int, int, bytes]:
    """Return the place of a tile and the contents of its file; called on a worker."""
    slide = _opened(*image)
    chosen = pick_device(device)
    network = network.eval().to(chosen).to(memory_format=memory_format(chosen))
    tile = grid.tile(row, column)
    queue = TileQueue([tile], grid, None)
    ((_, maps),) = compute_maps(queue, slide, grid, [network], Stages())
    return row, column, find_nuclei(slide, grid, network, tile, maps, image[1]).to_bytes()


@lru_cache(1)
def _opened(path: Path, mpp: float, scene: str | None, srgb: bool) -> Slide:
    return open_slide(path, mpp, scene, srgb)
