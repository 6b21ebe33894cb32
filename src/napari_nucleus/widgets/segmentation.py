"""The work behind the Segment button, in a thread of its own."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from napari.qt.threading import GeneratorWorker, create_worker

from napari_nucleus.errors import UserError
from napari_nucleus.result import Result
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.layers import nuclei_layers
from napari_nucleus.widgets.places import result_folder

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress
    from napari_nucleus.models import NucleusModel


@dataclass(frozen=True)
class Job:
    """What to segment, and how.

    Attributes
    ----------
    slide
        The image, with its µm/px.
    place
        Where its layer lies (`placement_of`).
    earlier
        Result folder that belongs to the layer, if any.
    model
        Checkpoint.
    region
        ``(x, y, width, height)`` in level-0 pixels, None for everything.
    device
        None takes the GPU where there is one.
    """

    slide: Slide
    place: Mapping[str, Any]
    earlier: Path | None
    model: str | Path
    region: tuple[int, int, int, int] | None
    device: str | None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a result and its layers, with an error, or, with neither, cancelled."""

    result: Result | None = None
    layers: tuple[Labels, ...] = ()
    error: Exception | None = None


class SegmentationWorker(GeneratorWorker):
    """Runs a `Job`: yields `Progress`, returns an `Outcome`."""

    def __init__(self, function: Callable[[Job, Event], Generator], job: Job) -> None:
        stop = Event()
        super().__init__(function, job, stop)
        self._stop = stop

    def quit(self) -> None:
        """Cancel at once and leave everything as it was.

        The generator ends itself: what superqt merely stops to iterate leaves its files behind.
        """
        self._stop.set()


def start(job: Job, connect: dict[str, Callable[..., Any]]) -> SegmentationWorker:
    """Start a job; `connect` names a slot for each signal of the worker."""
    return create_worker(segmentation, job, _worker_class=SegmentationWorker, _connect=connect)


class _Cancelled(Exception):
    """The user has pressed Cancel."""


def segmentation(job: Job, stop: Event) -> Generator["Progress", None, Outcome]:
    """Segment until the end or until `stop` is set; every error is returned."""
    try:
        return (yield from _steps(job, stop))
    except _Cancelled:
        return Outcome()
    except Exception as error:
        # napari takes a RuntimeError, which many of torch's are, for a sign that the window was
        # closed, and drops it; so every error travels as a value.
        return Outcome(error=error)


def _steps(job: Job, stop: Event) -> Generator["Progress", None, Outcome]:
    from napari_nucleus.checkpoints import load_checkpoint
    from napari_nucleus.inference import segment_steps

    model = load_checkpoint(job.model)
    _stop_between_layers(model, stop)
    out = result_folder(job.slide, job.earlier)
    steps = segment_steps(job.slide, out, model, region=job.region, device=job.device)
    try:
        while True:
            progress = next(steps)
            yield progress
            if stop.is_set():
                raise _Cancelled
            if progress.done == progress.total and not progress.nuclei:
                raise UserError(
                    "No nuclei were found: check the µm/px, or choose another region or model."
                )
    except StopIteration as end:
        return Outcome(end.value, nuclei_layers(end.value, job.place))
    finally:
        steps.close()


def _stop_between_layers(model: "NucleusModel", stop: Event) -> None:
    """Let `stop` end a pass through the network: a tile may take a large one several seconds."""

    def check(*_: Any) -> None:
        if stop.is_set():
            raise _Cancelled

    for module in model.modules():
        module.register_forward_pre_hook(check)


def devices() -> dict[str, str]:
    """Return what this machine can compute on, name for the user to name for torch.

    Loads torch and all else that the first segmentation needs.
    """
    import torch

    import napari_nucleus.inference  # noqa: F401

    graphics = range(torch.cuda.device_count())
    return {"CPU": "cpu", **{torch.cuda.get_device_name(i): f"cuda:{i}" for i in graphics}}
