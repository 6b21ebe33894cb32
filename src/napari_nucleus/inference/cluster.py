"""Tiles made by the workers of a dask.distributed cluster."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from napari_nucleus.errors import UserError
from napari_nucleus.inference.on_this_machine import tiles_here
from napari_nucleus.inference.seams import Place
from napari_nucleus.inference.stages import Stages
from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.inference.tile_queue import TileQueue
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.devices import memory_format, pick_device
from napari_nucleus.results.unfinished import Unfinished
from napari_nucleus.slides import Slide, open_slide
from napari_nucleus.slides.tiles import Grid

if TYPE_CHECKING:
    from distributed import Client

_ANSWER, _WORKER = 10, 60
"""Seconds that a scheduler has to answer, and to have a worker."""

_TOGETHER = {"cpu": 1}
"""Tiles that are sent together, by device; those that are not named, 32: four batches."""

_PACKAGE = "napari-nucleus"


@contextmanager
def started(scheduler: str | None) -> Iterator[str | None]:
    """Start a scheduler and its workers on this machine, if that is asked for.

    Parameters
    ----------
    scheduler : str or None
        ``"local:N"`` starts N workers, which end with the block; anything else starts nothing.

    Yields
    ------
    str or None
        Address of the scheduler, or what was given.

    Raises
    ------
    UserError
        If there are no workers to be started, or they cannot be.
    """
    kind, _, number = (scheduler or "").partition(":")
    if kind != "local":
        yield scheduler
        return
    if not number.isdecimal() or not int(number):
        raise UserError(f"{scheduler} starts no workers: say how many, such as local:2.")
    from distributed import LocalCluster

    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=int(number),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any port that is free
                    silence_logs=logging.CRITICAL,
                    # several workers on a core would spend their time waiting for threads
                    env={"OMP_WAIT_POLICY": "PASSIVE"},
                    # Ctrl+C reaches them, too, but the command ends after the tile in hand
                    preload=["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
                )
            )
        except (OSError, RuntimeError) as error:
            raise UserError(f"{scheduler} cannot start workers ({error}): take fewer.") from error
        yield cluster.scheduler_address


class _Image(NamedTuple):
    """What a worker opens an image with, and knows it by."""

    path: Path
    mpp: float
    scene: str | None
    srgb: bool
    digest: str


class Cluster:
    """Workers that can read an image (`connected`).

    Attributes
    ----------
    device : str
        What they compute on, such as ``"cuda"``.

    Parameters
    ----------
    scheduler : str
        Address of the scheduler, for messages.
    client : Client
        Connection to it.
    image : _Image
        What the workers read.
    device : str or None
        Where they compute; None takes the GPU of those that have one.
    """

    def __init__(self, scheduler: str, client: "Client", image: _Image, device: str | None) -> None:
        self._scheduler, self._client = scheduler, client
        self._image, self._chosen = image, device
        kinds = set()
        answers = client.run(_look, image, device, version(_PACKAGE), on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, UserError):
                raise UserError(f"The worker {worker}: {answer}")
            if isinstance(answer, BaseException):
                raise UserError(
                    f"The worker {worker} cannot make tiles ({answer}): install the same version "
                    "of napari-nucleus there."
                ) from answer
            kinds.add(answer)
        self.device = ", ".join(sorted(kinds))
        self._together = max(_TOGETHER.get(kind, 32) for kind in kinds)

    def tiles(
        self, queue: TileQueue, grid: Grid, network: NucleusModel, store: Unfinished, stages: Stages
    ) -> Iterator[TileNuclei]:
        """Make tiles, keep them in files, and yield them as they are finished.

        A tile whose worker dies is made by another.

        Parameters
        ----------
        queue : TileQueue
            The tiles, sent all at once, so that a cluster can grow with its load.
        grid : Grid
            Their grid.
        network : NucleusModel
            On the CPU.
        store : Unfinished
            Takes the files.
        stages : Stages
            Takes the times of all workers.

        Yields
        ------
        TileNuclei
            Not in the order in which they were begun.

        Raises
        ------
        UserError
            If a tile cannot be made, workers die of it, or the scheduler is gone.
        """
        import dask
        from distributed import KilledWorker, as_completed
        from distributed.client import FutureCancelledError

        tiles = [queue.take() for _ in range(len(queue))]
        places = [(tile.row, tile.column) for tile in tiles]
        # The weights are what a task returns, and not scattered: it is repeated where all workers
        # that have them die. Dask would warn of their size.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            weights = self._client.submit(_passed_on, network, pure=False)
        futures = [
            self._client.submit(
                _make_tiles,
                weights,
                self._image,
                grid,
                places[start : start + self._together],
                self._chosen,
                pure=False,
            )
            for start in range(0, len(places), self._together)
        ]
        try:
            for future in as_completed(futures, loop=self._client.loop):
                files, seconds = future.result()
                stages.add(seconds)
                for name, data in files.items():
                    with stages("writing"):
                        store.write(name, data)
                    yield TileNuclei.from_bytes(data, self._image.mpp)
        except KilledWorker as error:
            raise UserError(
                f"Workers of {self._scheduler} die again and again, perhaps for want of memory: "
                "give them more, or start fewer on a machine."
            ) from error
        except FutureCancelledError as error:
            raise UserError(
                f"The scheduler {self._scheduler} does not answer any more: start it, and segment "
                "again, which goes on."
            ) from error


@contextmanager
def connected(scheduler: str, slide: Slide, device: str | None) -> Iterator[Cluster]:
    """Connect with a cluster.

    Parameters
    ----------
    scheduler : str
        Address of its scheduler, or ``"local:N"`` (`started`).
    slide : Slide
        The image, which the workers can read under the same path.
    device : str or None
        Where they compute; None takes the GPU of those that have one.

    Yields
    ------
    Cluster
        Connected until the end of the block.

    Raises
    ------
    UserError
        If the image is not a file, the scheduler does not answer or has no workers, or one of them
        cannot read the image.
    """
    if slide.path is None:
        raise UserError(f"{slide.name} is not a file, which other machines could read: save it.")
    assert slide.mpp is not None
    image = _Image(slide.path.resolve(), slide.mpp, slide.scenes.other, slide.srgb, slide.digest())
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    with ExitStack() as stack:
        address = stack.enter_context(started(scheduler))
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        try:
            client = stack.enter_context(Client(address, timeout=_ANSWER, set_as_default=False))
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"The scheduler {scheduler} does not answer: check its address, such as "
                "tcp://host:8786."
            ) from error
        try:
            client.wait_for_workers(1, timeout=_WORKER)
        except TimeoutError as error:
            raise UserError(
                f"The scheduler {scheduler} has no workers: start some, such as dask worker "
                f"{address}."
            ) from error
        yield Cluster(scheduler, client, image, device)


def _look(image: _Image, device: str | None, here: str) -> str:
    """Return the kind of a worker's device, if it can make tiles of an image."""
    if (there := version(_PACKAGE)) != here:
        raise UserError(f"napari-nucleus is {there} there, and {here} here: install the same.")
    _opened(image)
    return pick_device(device).type


def _passed_on(network: NucleusModel) -> NucleusModel:
    return network


def _make_tiles(
    network: NucleusModel, image: _Image, grid: Grid, places: list[Place], device: str | None
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Return the contents of the files of tiles, and the seconds by stage; called on a worker."""
    chosen = pick_device(device)
    with _moving:
        network = network.eval().to(chosen).to(memory_format=memory_format(chosen))
    queue = TileQueue([grid.tile(*place) for place in places], grid, None)
    files: dict[str, bytes] = {}
    stages = Stages()
    for _ in tiles_here(
        queue, _opened(image), grid, [network], image.mpp, files.__setitem__, stages
    ):
        pass
    return files, stages.seconds


_moving = Lock()
"""Tasks of a worker share the network."""


@lru_cache(1)
def _opened(image: _Image) -> Slide:
    try:
        slide = open_slide(image.path, image.mpp, image.scene, image.srgb)
        same = slide.digest() == image.digest
    except UserError as error:
        raise UserError(f"{error}; workers must find the image under the same path") from error
    if not same:
        raise UserError(
            f"{image.path} is another image there: workers must find the same under the same path."
        )
    return slide
