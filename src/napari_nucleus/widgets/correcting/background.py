"""Work in a thread of its own."""

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker


def in_background(work: Callable[..., Any], *arguments: Any, then: Callable[[Any], object]) -> None:
    """Call a function in a thread.

    Parameters
    ----------
    work, arguments
        What to call.
    then
        Gets what it returned or the exception that it raised; a method of a Qt object, which is
        left out when that is gone.
    """

    def returning_errors() -> Any:
        try:
            return work(*arguments)
        except Exception as error:
            # napari takes a RuntimeError for a sign that the window was closed, and drops it.
            return error

    create_worker(returning_errors, _connect={"returned": then})
