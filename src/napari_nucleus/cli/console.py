"""Output of the commands: results on standard output, progress on standard error."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)

Update = Callable[[int, int, str], None]


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; numbers that are none become null.

    Parameters
    ----------
    value : mapping of str to Any
        The object.
    """
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line as it is: paths stay whole, however narrow the terminal.

    Parameters
    ----------
    text : str
        The line.
    """
    out.print(text, soft_wrap=True, markup=False, highlight=False)


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
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


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
