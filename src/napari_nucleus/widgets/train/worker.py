"""The work behind the Train button, in a thread of its own."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker

from napari_nucleus.retraining import Retraining
from napari_nucleus.slides import Slide

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained, Update


@dataclass(frozen=True)
class Job:
    """What to train, and where.

    Attributes
    ----------
    retraining : Retraining
        What to do.
    out : Path
        Folder of the run.
    resume : bool
        Whether to go on with the run that is there.
    images : mapping of Path to Slide
        Result folder to its image, of results that are open.
    """

    retraining: Retraining
    out: Path
    resume: bool
    images: Mapping[Path, Slide]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    made : Retrained or None
        The best model so far; None where there is none.
    error : Exception or None
        Why it failed, if it did.
    cancelled : bool
        Whether the user has stopped it.
    """

    made: "Retrained | None" = None
    error: Exception | None = None
    cancelled: bool = False


class _Cancelled(Exception):
    """The user has pressed Cancel."""


_PATIENCE = 1.0
"""Seconds in which a step may come to its end, so that nothing of it is lost."""


class Switch:
    """Stops a job, for good or for a while."""

    def __init__(self) -> None:
        self._stopped: float | None = None
        self._going = Event()
        self._going.set()

    @property
    def paused(self) -> bool:
        """Whether the job rests, or will after its present step."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Let the job rest."""
        self._going.clear()

    def go_on(self) -> None:
        """Let the job go on."""
        self._going.set()

    def stop(self) -> None:
        """Let the job end."""
        self._stopped = monotonic()
        self._going.set()

    def check(self) -> None:
        """Within a step: raise `_Cancelled` when it has been stopped for too long."""
        if self._stopped is not None and monotonic() - self._stopped > _PATIENCE:
            raise _Cancelled

    def rest(self) -> None:
        """Between steps: wait while paused, and raise `_Cancelled` when stopped."""
        self._going.wait()
        if self._stopped is not None:
            raise _Cancelled


class TrainingWorker(GeneratorWorker):
    """Runs a `Job`: yields `Update`, returns an `Outcome`."""

    def __init__(self, function: Callable[[Job, Switch], Generator], job: Job) -> None:
        self.switch = Switch()
        super().__init__(function, job, self.switch)

    def quit(self) -> None:
        """Cancel, as napari does when the window is closed.

        The generator ends itself, so that it can tell what it has made.
        """
        self.switch.stop()


def start(job: Job, connect: dict[str, Callable[..., Any]]) -> TrainingWorker:
    """Start a job; `connect` names a slot for each signal of the worker."""
    return create_worker(training, job, _worker_class=TrainingWorker, _connect=connect)


def training(job: Job, switch: Switch) -> Generator["Update", None, Outcome]:
    """Train to the end or until `switch` stops it; every error is returned."""
    from napari_nucleus.retraining.loop import Retrained, retrain_steps

    try:
        steps = retrain_steps(job.retraining, job.out, job.resume, job.images)
        with closing(steps), _heeding(switch):
            while True:
                try:
                    update = next(steps)
                except StopIteration as end:
                    return Outcome(end.value)
                yield update
                switch.rest()
    except _Cancelled:
        return Outcome(Retrained.read(job.out), cancelled=True)
    except Exception as error:
        # napari takes a RuntimeError, which many of torch's are, for a sign that the window was
        # closed, and drops it; so every error travels as a value.
        return Outcome(error=error)


@contextmanager
def _heeding(switch: Switch) -> Iterator[None]:
    """Let every network of this thread stop before its next layer: a step may take seconds."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    thread = get_ident()

    def check(*_: Any) -> None:
        if get_ident() == thread:
            switch.check()

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()
