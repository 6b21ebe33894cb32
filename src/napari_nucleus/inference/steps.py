"""Long jobs are generators that yield their progress; here they run to the end at once."""

from collections.abc import Callable, Generator
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, get_args

P = ParamSpec("P")
Y = TypeVar("Y")
R = TypeVar("R")


def run_to_end(steps: Generator[Y, Any, R], on_progress: Callable[[Y], object] | None = None) -> R:
    """Run a job to its end.

    Parameters
    ----------
    steps : Generator
        The job, which yields its progress and returns its result.
    on_progress : callable or None
        Called with everything that the job yields.

    Returns
    -------
    object
        The job's result.

    Examples
    --------
    >>> def countdown(start):
    ...     for number in range(start, 0, -1):
    ...         yield number
    ...     return "lift-off"
    >>> run_to_end(countdown(2), print)
    2
    1
    'lift-off'
    """
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            return stop.value
        if on_progress:
            on_progress(progress)


def at_once(steps: Callable[P, Generator[Any, Any, R]]) -> Callable[P, R]:
    """Make a function that runs a job to its end and returns its result.

    Parameters
    ----------
    steps : callable
        Function ``<name>_steps`` whose calls are jobs (`run_to_end`).

    Returns
    -------
    callable
        Function ``<name>`` with the same parameters and documentation.
    """

    @wraps(steps)
    def job(*args: P.args, **kwargs: P.kwargs) -> R:
        return run_to_end(steps(*args, **kwargs))

    job.__name__ = job.__qualname__ = steps.__name__.removesuffix("_steps")
    own = signature(steps)
    *_, result = get_args(own.return_annotation)
    job.__signature__ = own.replace(return_annotation=result)  # type: ignore[attr-defined]
    return job
