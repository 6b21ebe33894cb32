"""Work in a thread of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari.qt.threading import create_worker


@dataclass(frozen=True)
class Failure:
    """What a function raised."""

    error: Exception


def in_background(work: Callable[..., Any], *arguments: Any, then: Callable[[Any], object]) -> None:
    """Call a function in a thread.

    Parameters
    ----------
    work, arguments : callable
        What to call.
    then : callable
        Gets what it returned, or a `Failure`; a method of a Qt object is not called when that is
        gone.
    """

    def work_or_fail() -> Any:
        try:
            return work(*arguments)
        except Exception as error:
            # napari takes a RuntimeError for a sign that the window was closed, and drops it.
            return Failure(error)

    create_worker(work_or_fail, _connect={"returned": then})
