"""Work in a thread of its own: a function, or a job that can be paused and cancelled."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic
from typing import Any, TypeVar

from napari import current_viewer
from napari.layers import Layer
from napari.qt.threading import GeneratorWorker, create_worker

# Seconds after which a layer that is being filled is drawn again.
_REDRAW = 0.5

Progress = TypeVar("Progress")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Failure:
    """The exception that ended a function or a job.

    napari takes a RuntimeError, which many of torch's are, for a sign that the window was closed,
    and drops it. So every exception travels as a value.
    """

    error: Exception


class Cancelled(Exception):
    """The user has cancelled the job."""


def in_background(work: Callable[..., Any], *arguments: Any, then: Callable[[Any], object]) -> None:
    """Call a function in a thread.

    Parameters
    ----------
    work : callable
        Function to call.
    arguments : Any
        Its arguments.
    then : callable
        Gets what it returned, or a `Failure`; a method of a Qt object is not called when that is
        gone.
    """

    def work_or_fail() -> Any:
        try:
            return work(*arguments)
        except Exception as error:
            return Failure(error)

    create_worker(work_or_fail, _connect={"returned": then})


def redraw_while(steps: Iterable[Any], shows: Callable[[Layer], bool]) -> None:
    """Run steps that fill the data of a layer in a thread, and draw it now and then.

    napari makes a layer of its own of what a reader returns, in the viewer that is current now.

    Parameters
    ----------
    steps : iterable of Any
        The steps. They end when the layer was removed or the window is closed.
    shows : callable
        Tells whether a layer has these data.
    """
    viewer, seen = current_viewer(), False

    def run() -> Generator[None, None, None]:
        drawn = monotonic()
        for _ in steps:
            if monotonic() - drawn > _REDRAW:
                yield
                drawn = monotonic()

    def draw(_: object = None) -> None:
        nonlocal seen
        layers = [layer for layer in viewer.layers if shows(layer)] if viewer else []
        for layer in layers:
            layer.refresh()
        if seen and not layers:
            worker.quit()
        seen = bool(layers)

    worker = create_worker(run, _connect={"yielded": draw, "returned": draw})


class CancelToken:
    """Pauses and cancels a job from another thread.

    Parameters
    ----------
    grace : float
        Seconds that a step may go on after cancelling, to complete.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self._grace = grace
        self._lock = Lock()
        self._committed = False
        self._cancelled_at: float | None = None
        self._running = Event()
        self._running.set()

    @property
    def paused(self) -> bool:
        """Whether the job is paused, or will be after its present step."""
        return not self._running.is_set()

    def pause(self) -> None:
        """Pause the job after its present step."""
        self._running.clear()

    def resume(self) -> None:
        """Continue a paused job."""
        self._running.set()

    def cancel(self) -> bool:
        """Cancel the job.

        Returns
        -------
        bool
            Whether it has committed, so that its end must be awaited.
        """
        with self._lock:
            self._cancelled_at = monotonic()
            committed = self._committed
        self.resume()
        return committed

    def commit(self) -> None:
        """Declare that the job has files to remove or a model to return, should it be cancelled.

        Raises
        ------
        Cancelled
            If it was cancelled before.
        """
        with self._lock:
            if not self._committed and self._cancelled_at is not None:
                raise Cancelled
            self._committed = True

    def check(self) -> None:
        """Raise `Cancelled` within a step that goes on for too long after cancelling."""
        if self._cancelled_at is not None and monotonic() - self._cancelled_at >= self._grace:
            raise Cancelled

    def wait(self) -> None:
        """Wait between two steps while paused, and raise `Cancelled` once cancelled."""
        self._running.wait()
        if self._cancelled_at is not None:
            raise Cancelled


class Job(GeneratorWorker):
    """A generator that runs in a thread; `start_job` starts one.

    Attributes
    ----------
    token : CancelToken
        Pauses and cancels it.
    """

    def __init__(
        self,
        function: Callable[..., Generator],
        steps: Callable[[CancelToken], Generator],
        token: CancelToken,
        then: Callable[[Any], object],
    ) -> None:
        super().__init__(function, steps, token)
        self.token = token
        self._then = then

    def cancel(self) -> bool:
        """Cancel; return whether `then` is still to be called.

        A job that has only read so far ends in its own time, and nobody waits for it.
        """
        if self.token.cancel():
            return True
        self.returned.disconnect(self._then)
        return False

    def quit(self) -> None:
        """Cancel, as napari does when the window is closed.

        The generator ends itself: what superqt merely stops to iterate leaves its files behind.
        """
        self.token.cancel()


def start_job(
    steps: Callable[[CancelToken], Generator[Progress, None, Value]],
    on_progress: Callable[[Progress], object],
    then: Callable[[Value | Failure], object],
    grace: float = 0.0,
) -> Job:
    """Start a job in a thread.

    Parameters
    ----------
    steps : callable
        Makes the generator to run; it heeds its token by `cancellable`.
    on_progress : callable
        Gets everything that it yields.
    then : callable
        Gets what it returned, or a `Failure`, which is `Cancelled` where the job was cancelled.
    grace : float
        That of the `CancelToken`.
    """
    connect = {"yielded": on_progress, "returned": then}
    token = CancelToken(grace)
    return create_worker(_run_or_fail, steps, token, then, _worker_class=Job, _connect=connect)


def cancellable(
    steps: Generator[Progress, None, Value],
    token: CancelToken,
    check: Callable[[Progress], object] = lambda progress: None,
) -> Generator[Progress, None, Value]:
    """Run a generator that a token pauses between steps, and cancels within them, too.

    Parameters
    ----------
    steps : generator
        What to run; it is closed when it is cancelled.
    token : CancelToken
        Its token.
    check : callable
        Gets what was yielded, and may raise before the next step.

    Raises
    ------
    Cancelled
        If the job was cancelled.
    """
    with closing(steps), _checked_in_layers(token):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                return end.value
            token.commit()
            yield progress
            token.wait()
            check(progress)


@contextmanager
def _checked_in_layers(token: CancelToken) -> Iterator[None]:
    """Check a token before each layer of the networks of this job: a step may take seconds.

    They are those of this thread, and of others that work in a copy of its context.
    """
    from torch.nn.modules.module import register_module_forward_pre_hook

    def check(*_: Any) -> None:
        if _token.get() is token:
            token.check()

    _token.set(token)
    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()
        _token.set(None)


_token: ContextVar[CancelToken | None] = ContextVar("token", default=None)


def _run_or_fail(
    steps: Callable[[CancelToken], Generator[Progress, None, Value]], token: CancelToken
) -> Generator[Progress, None, Value | Failure]:
    try:
        return (yield from steps(token))
    except Exception as error:
        return Failure(error)
