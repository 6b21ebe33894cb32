"""Output of the commands: results on standard output, progress on standard error."""

import io
import json
import math
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_nucleus.inference.steps import run_to_end

Y = TypeVar("Y")
R = TypeVar("R")

# Names of files and types are shown as they are, whatever brackets and colons they hold.
out = Console(markup=False, emoji=False, highlight=False)
err = Console(stderr=True, markup=False, emoji=False, highlight=False)

Update = Callable[[int, int, str], None]


def replace_unprintable() -> None:
    """Print a question mark for what the encoding of the console lacks, such as µ in Japan."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # there may be none
            stream.reconfigure(errors="replace")


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, in ASCII for every console; numbers that are none become null.

    Parameters
    ----------
    value : mapping of str to Any
        The object.
    """
    print(json.dumps(_plain(value), allow_nan=False))


def say(text: str) -> None:
    """Print a line as it is: paths stay whole, however narrow the terminal.

    Parameters
    ----------
    text : str
        The line.
    """
    out.print(text, soft_wrap=True)


@contextmanager
def progress(what: str) -> Iterator[Update]:
    """Show a bar on standard error, if that is a terminal.

    Parameters
    ----------
    what : str
        The words before the bar.

    Yields
    ------
    callable
        Takes how much is done, how much there is in all, and a note.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


def run_until_stopped(steps: Generator[Y, None, R], on_progress: Callable[[Y], object]) -> R:
    """Run a job to its end, or until Ctrl+C: it then ends after the step in hand, which is kept.

    Before the first step, and when pressed again, Ctrl+C ends it at once.

    Parameters
    ----------
    steps : Generator
        The job, which keeps what it has done when it is closed.
    on_progress : callable
        Called with everything that the job yields.

    Returns
    -------
    object
        The job's result.

    Raises
    ------
    KeyboardInterrupt
        If it was stopped.
    """
    running = stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping or not running:
            raise KeyboardInterrupt
        stopping = True
        err.print("Stopping after this step; Ctrl+C again stops at once.")

    def show(progress: Y) -> None:
        nonlocal running
        running = True
        on_progress(progress)
        if stopping:
            raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        with closing(steps):
            return run_to_end(steps, show)
    finally:
        signal.signal(signal.SIGINT, earlier)


def kept(out: Path) -> str:
    """Return what is kept of a run that was stopped.

    Parameters
    ----------
    out : Path
        Folder of the run.
    """
    if (out / "state.pt").is_file():
        return f"{out} keeps the run; add --resume to continue it."
    return "no step was done, nothing was kept."


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
