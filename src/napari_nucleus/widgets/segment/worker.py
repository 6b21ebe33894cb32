"""The work behind the Segment button, in a thread of its own."""

import gc
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.qt.threading import GeneratorWorker, create_worker

from napari_nucleus.errors import UserError
from napari_nucleus.results import Result
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.shared.layers import nuclei_layers
from napari_nucleus.widgets.shared.result_paths import result_folder

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress


@dataclass(frozen=True)
class Job:
    """What to segment, and how.

    Attributes
    ----------
    slide : Slide
        The image, with its µm/px.
    place : mapping of str to Any
        Where its layer lies (`placement_of`).
    earlier : Path or None
        Result folder that belongs to the layer, if any.
    model : str or Path
        Checkpoint.
    region : tuple[int, int, int, int] | None
        ``(x, y, width, height)`` in level-0 pixels, None for everything.
    outline : list[tuple[float, float]] | None
        Corners (x, y) of a polygon in level-0 pixels, in which nuclei count; None for no limit.
    device : str or None
        None takes the GPU where there is one.
    """

    slide: Slide
    place: Mapping[str, Any]
    earlier: Path | None
    model: str | Path
    region: tuple[int, int, int, int] | None
    outline: list[tuple[float, float]] | None
    device: str | None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a result and its layers, with an error, or, with neither, cancelled."""

    result: Result | None = None
    layers: tuple[Labels, ...] = ()
    error: Exception | None = None


class _Cancelled(Exception):
    """The user has pressed Cancel."""


class Switch:
    """Stops a job, and tells whether it has to be waited for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._stopped = False
        self._writing = False

    def stop(self) -> bool:
        """Let `check` raise from now on; return whether files are being written that must go."""
        with self._lock:
            self._stopped = True
            return self._writing

    def check(self, *_: Any) -> None:
        """Raise `_Cancelled` once stopped."""
        if self._stopped:
            raise _Cancelled

    def begin_to_write(self) -> None:
        """Say that files are written from now on."""
        with self._lock:
            self.check()
            self._writing = True


class SegmentationWorker(GeneratorWorker):
    """Runs a `Job`: yields `Progress`, returns an `Outcome`."""

    def __init__(self, function: Callable[[Job, Switch], Generator], job: Job) -> None:
        switch = Switch()
        super().__init__(function, job, switch)
        self.switch = switch

    def quit(self) -> None:
        """Cancel, as napari does when the window is closed.

        The generator ends itself: what superqt merely stops to iterate leaves its files behind.
        """
        self.switch.stop()


def start(job: Job, connect: dict[str, Callable[..., Any]]) -> SegmentationWorker:
    """Start a job; `connect` names a slot for each signal of the worker."""
    return create_worker(segmentation, job, _worker_class=SegmentationWorker, _connect=connect)


def segmentation(job: Job, switch: Switch) -> Generator["Progress", None, Outcome]:
    """Segment until the end or until `switch` stops it; every error is returned."""
    try:
        return (yield from _steps(job, switch))
    except _Cancelled:
        return Outcome()
    except Exception as error:
        # napari takes a RuntimeError, which many of torch's are, for a sign that the window was
        # closed, and drops it; so every error travels as a value.
        return Outcome(error=error)


def _steps(job: Job, switch: Switch) -> Generator["Progress", None, Outcome]:
    from napari_nucleus.inference import segment_steps
    from napari_nucleus.models.checkpoints import load_checkpoint

    model = load_checkpoint(job.model)
    for module in model.modules():
        # A tile may take a large network several seconds.
        module.register_forward_pre_hook(switch.check)
    job.slide.digest()  # reads all of a large file, once
    out = result_folder(job.slide, job.earlier)
    switch.begin_to_write()
    steps = segment_steps(
        job.slide, out, model, region=job.region, outline=job.outline, device=job.device
    )
    with closing(steps):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return Outcome(end.value, nuclei_layers(end.value, job.place))
            yield progress
            switch.check()
            if progress.done == progress.total and not progress.nuclei:
                raise UserError(
                    "No nuclei were found: check the µm/px, or choose another region or model."
                )


def devices() -> dict[str, str]:
    """Return what this machine can compute on, name for the user to name for torch.

    Loads torch and all else that the first segmentation needs.
    """
    gc.disable()  # looking for garbage among a million new objects halts the window again and again
    try:
        import torch

        import napari_nucleus.inference  # noqa: F401
    finally:
        gc.enable()
    graphics = range(torch.cuda.device_count())
    return {"CPU": "cpu", **{torch.cuda.get_device_name(i): f"cuda:{i}" for i in graphics}}
