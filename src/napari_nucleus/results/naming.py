"""Where a result goes, and what a run is called: nothing of the user's is replaced."""

import filecmp
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import platformdirs

from napari_nucleus.errors import UserError
from napari_nucleus.files import portable_name
from napari_nucleus.results.export import write_csv
from napari_nucleus.results.journal.lock import is_locked
from napari_nucleus.results.reader import Result, open_result
from napari_nucleus.results.schema import Run
from napari_nucleus.results.swap import is_corrected, put_back, remove_leftovers
from napari_nucleus.results.unfinished import (
    IMAGE,
    is_unfinished,
    other_settings,
    unfinished_folder,
)
from napari_nucleus.slides import Slide


@dataclass(frozen=True)
class Destination:
    """Where a new result goes.

    Attributes
    ----------
    result : Path
        The result folder ``<stem>.nucleus``, or ``<stem>-2.nucleus`` and so on.
    csv : Path
        Its table beside it, with the same stem.
    reason : str
        Why it has a number, such as "slide.nucleus has corrections", or what it replaces; empty
        if nothing of that name was there.
    """

    result: Path
    csv: Path
    reason: str


def default_folder(slide: Slide) -> Path:
    """Return the folder for the results of an image: its own if writable, else in Documents.

    Parameters
    ----------
    slide : Slide
        The image.
    """
    folder = None if slide.path is None else slide.path.resolve().parent
    if folder is None or not os.access(folder, os.W_OK):
        return platformdirs.user_documents_path() / "napari-nucleus"
    return folder


def choose_destination(
    folder: Path,
    slide: Slide,
    model: str,
    mpp: float | None,
    options: Mapping[str, Any],
    resume: bool = False,
) -> Destination:
    """Return where a result goes: ``<stem>.nucleus``, or the first number that is free.

    A result is replaced only by the same again: it was not corrected, and is of the same file with
    the same content, by the same model at the same µm/px with the same options. The table beside a
    result is replaced only with it, and if it is as it was written.

    Parameters
    ----------
    folder : Path
        The folder, which need not exist.
    slide : Slide
        The image.
    model : str
        SHA-256 of the model's weights.
    mpp : float or None
        µm per level-0 pixel.
    options : mapping of str to Any
        What the user chose, as `segment` takes it: `region` or `regions`, and `tissue`.
    resume : bool
        Whether an unfinished run of other settings is refused; else it counts as a result.

    Returns
    -------
    Destination
        Result folder and table.

    Raises
    ------
    UserError
        If an unfinished run is refused.
    """
    wanted = _Wanted(slide, model, mpp, _plain(options))
    places = list(_places(folder, slide))

    def is_free(number: int) -> bool:
        return not wanted.obstacle(*places[number])

    begun = (number for number, (result, _) in enumerate(places) if is_unfinished(result))
    number = next(filter(is_free, begun), None)
    if number is None:
        if resume:
            wanted.refuse_others(result for result, _ in places)
        number = next(filter(is_free, range(len(places))))
    result, csv = places[number]
    replaced = "replaces the same segmentation" if os.path.lexists(result) else ""
    obstacles = (wanted.obstacle(*place) for place in places[:number])
    return Destination(result, csv, next(filter(None, obstacles), replaced))


def finished_result(
    folder: Path, slide: Slide, model: str, mpp: float | None, options: Mapping[str, Any]
) -> Result | None:
    """Return the result of the same segmentation, corrected or not; None if there is none.

    Tiles that are still there, of a run that was killed when it was finished, are removed.

    Parameters
    ----------
    folder, slide, model, mpp, options : object
        As `choose_destination` takes them.

    Returns
    -------
    Result or None
        That with the lowest number, as it is now.
    """
    wanted = _Wanted(slide, model, mpp, _plain(options))
    for result, _ in _places(folder, slide):
        with suppress(UserError):  # cannot be read
            if not wanted.difference(earlier := open_result(result)):
                if not other_settings(result, wanted.settings):
                    remove_leftovers(result)
                return earlier
    return None


def run_title(run: Run) -> str:
    """Return a short title that tells runs of one image apart.

    Parameters
    ----------
    run : Run
        Contents of `run.json`.

    Returns
    -------
    str
        Region, model and local time: "region 2 · histonext_atto_he · 14:05", with the date if it
        was not today.
    """
    started = datetime.fromisoformat(run["started"]).astimezone()
    today = started.date() == datetime.now().astimezone().date()
    time = started.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")
    return " · ".join((_where(run["options"]), run["model"]["name"], time))


_OPTIONS = "region", "regions", "tissue"


@dataclass(frozen=True)
class _Wanted:
    slide: Slide
    model: str
    mpp: float | None
    options: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Those by which an unfinished run is known."""
        options = {name: self.options.get(name) for name in _OPTIONS}
        own = {"sha256": self.slide.digest(), "mpp": self.mpp, "model": self.model}
        return {**own, **options, "version": version("napari-nucleus")}

    def refuse_others(self, results: Iterable[Path]) -> None:
        """Raise if there is an unfinished run of the image with other settings."""
        for result in results:
            others = other_settings(result, self.settings)
            if others and IMAGE not in others:
                raise UserError(
                    f"{unfinished_folder(result)} was begun with another {', '.join(others)}: take "
                    "the same to go on, or begin another beside it without resuming."
                )

    def obstacle(self, path: Path, csv: Path) -> str:
        """Return why a new result cannot go there; empty if it can."""
        if not os.path.lexists(path):
            if os.path.lexists(csv):
                return f"{csv.name} is there already"
            return self._unfinished(path)
        try:
            earlier = open_result(path)
        except UserError:
            return f"{path.name} cannot be read"
        if difference := self.difference(earlier):
            return f"{path.name} {difference}"
        if is_corrected(path):
            return f"{path.name} has corrections"
        if is_locked(path):
            return f"{path.name} is open for correction"
        if os.path.lexists(csv) and not _is_table_of(earlier, csv):
            return f"{csv.name} is not the table of {path.name}, or was changed"
        return self._unfinished(path)

    def difference(self, earlier: Result) -> str:
        """Return how a result differs from the new one; empty if corrections alone may differ."""
        run = earlier.run
        chosen = {key: run["options"].get(key) for key in (*_OPTIONS, "outline")}
        if not self.slide.matches(run["source"]):
            return "is of another image"
        if not self._is_source_of(earlier):
            return "is of a copy of the image"
        if not self.model or run["model"]["sha256"] != self.model:
            return "is of another model"
        if run["source"]["mpp"] != self.mpp:
            return "has another µm/px"
        chosen, wanted = _plain(chosen), dict(self.options)
        if chosen.pop("tissue", None) != wanted.pop("tissue", None):
            return "has tissue chosen in another way"
        if chosen != wanted:
            return f"is of another region ({_where(run['options'])})"
        return ""

    def _unfinished(self, path: Path) -> str:
        """Return how an unfinished run differs from the new one."""
        others = ", ".join(other_settings(path, self.settings))
        return f"{path.name} is unfinished, with another {others}" if others else ""

    def _is_source_of(self, earlier: Result) -> bool:
        """Tell whether the image is the file that a result was made from, which may have moved."""
        source, path = earlier.run["source"]["path"], self.slide.path
        if source is None or path is None:
            return source == path
        known = earlier.image_paths()
        return Path(source) not in known or any(path.samefile(place) for place in known)


def _places(folder: Path, slide: Slide) -> Iterator[tuple[Path, Path]]:
    """Yield result and table by their numbers, up to the first where nothing is."""
    name = portable_name(slide.name)
    for number in count(1):
        stem = name if number == 1 else f"{name}-{number}"
        result, csv = folder / f"{stem}.nucleus", folder / f"{stem}.csv"
        put_back(result)
        yield result, csv
        if not (os.path.lexists(result) or os.path.lexists(csv) or is_unfinished(result)):
            return


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as `run.json` has them, without those that were not chosen."""
    chosen = {name: value for name, value in options.items() if value is not None}
    return dict(json.loads(json.dumps(chosen, default=float)))


def _where(options: Mapping[str, Any]) -> str:
    if regions := options.get("regions"):
        return ", ".join(regions) if len(regions) < 3 else f"{len(regions)} regions"
    if region := options.get("region"):
        x, y, width, height = region
        return f"{width} × {height} px at {x}, {y}"
    return "whole image"


def _is_table_of(result: Result, csv: Path) -> bool:
    """Tell whether a table is as it was written for a result."""
    with TemporaryDirectory() as folder:
        again = Path(folder) / csv.name
        write_csv(result, again)
        return csv.is_file() and filecmp.cmp(csv, again, shallow=False)
