"""Correct a result: every change is in the journal at once, and can be undone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, Self

import numpy as np
import pandas as pd

from napari_nucleus.edits.canvas import Canvas
from napari_nucleus.errors import UserError
from napari_nucleus.files import write_errors
from napari_nucleus.results import open_result
from napari_nucleus.results.journal.edit import Edit, Region
from napari_nucleus.results.journal.history import History, Recorded
from napari_nucleus.results.journal.journal import Journal, Line
from napari_nucleus.results.journal.lock import try_lock
from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.journal.recovery import settle
from napari_nucleus.results.journal.rows import distinct
from napari_nucleus.results.journal.state import State
from napari_nucleus.results.labels import open_labels
from napari_nucleus.results.regions import Regions
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box

P = ParamSpec("P")


@dataclass(frozen=True)
class Changed:
    """Parts of a result that an edit changed.

    Attributes
    ----------
    box : Box or None
        Level-0 pixels around the nuclei that changed, as they were and as they are; None if none
        did.
    labels : ndarray
        Labels (N,) of nuclei that came, went or changed in shape or type, ascending.
    types, reviewed, checked : bool
        Whether names or colours of types, reviewed regions or checked nuclei changed.
    """

    box: Box | None
    labels: np.ndarray
    types: bool
    reviewed: bool
    checked: bool


class EditSession:
    """A result that is open for correction, in one window at a time.

    All corrections go through `apply`. The table is written by `save` and `close`; until then the
    journal is ahead of it, and whoever opens the result sees both. As a context manager it closes
    itself.

    Attributes
    ----------
    path : str or path
        The result folder.
    slide : Slide or None
        Its image, which may be in another file now; None opens the file that it was made from.
    canvas : Canvas
        Labels, table and image, on which operations work; only to be read.
    mpp : float or None
        µm per level-0 pixel, None if unknown.
    warning : str
        Warning about the journal or the image, empty if there is none.
    read_only : str
        Reason why nothing can be changed, empty if it can.
    changed : list of callable
        Functions that are called with `Changed` after every change.

    Parameters
    ----------
    path : str or path
        The result folder.
    slide : Slide or None
        Its image, which may be in another file now; None opens the file that it was made from.

    Raises
    ------
    UserError
        If there is no result, it is damaged, or its image has moved or is another one.
    """

    def __init__(self, path: str | PathLike[str], slide: Slide | None = None) -> None:
        result = open_result(path)
        self.path: Path = result.path
        self.slide = result.open_image() if slide is None else slide
        if self.slide.shape != result.shape:
            raise UserError(f"{self.slide.name} is not the image that {self.path} was made from.")
        self.mpp = result.mpp
        self.changed: list[Callable[[Changed], object]] = []
        self.warning = ""
        self.read_only = ""
        self._unwritten: PixelChange | None = None
        self._lock = None
        try:
            self._lock = try_lock(self.path)
            if self._lock is None:
                self.read_only = f"{self.path.name} is being corrected in another window."
        except OSError as error:
            self.read_only = f"{self.path.name} cannot be written to ({error.strerror})."
        try:
            self._read(result.types, result.run["options"].get("regions") or {})
        except BaseException:
            self._release()
            raise
        if not self.warning and not self.slide.matches(result.run["source"]):
            self.warning = (
                f"{self.slide.name} is not the file that {self.path.name} was made from: make sure "
                "that it is the same image."
            )

    def _read(self, types: dict[str, str], regions: Regions) -> None:
        state = State(self.path, types)
        self._journal = Journal(self.path)
        self._history = History(self._journal, state.notes.saved)
        for edit in self._history.since_saved():
            state.apply(edit)
        self._line = max(self._journal.last, state.notes.saved)
        writable = not self.read_only
        if writable:
            with write_errors(self.path):
                settle(self.path, self._history)
        levels = open_labels(self.path / "labels.zarr", writable)
        self.canvas = Canvas(state, levels, self.slide, self.mpp, regions)
        if self._journal.last < state.notes.saved:
            self.warning = (
                f"{self.path.name}/edits.jsonl is truncated: all corrections are kept, but those "
                "made until now cannot be undone."
            )
        elif self._journal.torn or self._journal.unfinished:
            self.warning = (
                f"The last line of {self.path.name}/edits.jsonl is incomplete, as after a power "
                "failure: all corrections before it are kept."
            )

    # What there is

    @property
    def types(self) -> dict[str, str]:
        """Name to colour ``"#rrggbb"`` of every type, in their order."""
        return dict(self._state.notes.types)

    @property
    def reviewed(self) -> list[Region]:
        """Regions (x0, y0, x1, y1) marked as reviewed, in level-0 pixels."""
        return list(self._state.notes.reviewed)

    @property
    def checked(self) -> set[int]:
        """Labels of nuclei that were accepted as they are."""
        return set(self._state.notes.checked)

    @property
    def examples(self) -> set[int]:
        """Labels of nuclei whose type a person has set."""
        table = self._state.table
        labels = np.array(sorted(self._state.notes.examples), np.int64)
        return set(labels[table.known(labels)].tolist())

    @property
    def next_label(self) -> int:
        """The label that the next new nucleus gets."""
        return self._state.notes.next_label

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in level-0 pixels."""
        return self.slide.shape

    def counts(self) -> dict[str, int]:
        """Return the number of all nuclei, as `nuclei`, and of every type."""
        return self._state.counts()

    def table(self) -> pd.DataFrame:
        """Return all nuclei, one row each, as `Result.table`."""
        return self._state.table.to_pandas()

    def rows(self, labels: Iterable[int]) -> pd.DataFrame:
        """Return some nuclei, one row each in ascending order; labels without one are left out.

        Parameters
        ----------
        labels : iterable of int
            The nuclei.
        """
        wanted = distinct(np.fromiter(labels, np.int64))
        table = self._state.table
        return pd.DataFrame(table.rows(wanted[table.known(wanted)]))

    def read_labels(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return the int32 (height, width) labels of a box of level-0 pixels.

        Parameters
        ----------
        x, y : int
            Its first pixel.
        width, height : int
            Its size.

        Returns
        -------
        (height, width) ndarray of int32
            0 = background.

        Raises
        ------
        IndexError
            If it leaves the image.
        """
        labels = self.canvas.labels(Box(x, y, x + width, y + height))
        if self._unwritten is not None:
            self._unwritten.draw(labels, x, y)
        return labels

    def apply(
        self,
        operation: Callable[Concatenate[Canvas, P], Edit | None],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> None:
        """Correct the result; the change is in the journal, and so on the disk, on return.

        Parameters
        ----------
        operation : callable
            A function of `operations` or `annotations`: takes the canvas, then the arguments, and
            returns the edit to make, None for none.
        *arguments, **options
            What it takes after the canvas.

        Raises
        ------
        UserError
            If the operation refuses, or the result is read only or cannot be written.

        Examples
        --------
        Give two nuclei another class, and take that back::

            with EditSession("slide.nucleus") as session:
                session.apply(operations.reclassify, [3, 7], "epithelial")
                session.undo()
        """
        self._prepare()
        edit = operation(self.canvas, *arguments, **options)
        if edit is not None:
            self._record(edit.to_json())
            self._follow(edit)

    @property
    def done(self) -> Sequence[Recorded]:
        """All edits that can be undone, the latest last."""
        return tuple(self._history.done)

    @property
    def undone(self) -> Sequence[Recorded]:
        """All edits that can be redone, the next one last."""
        return tuple(self._history.undone)

    @property
    def can_undo(self) -> str:
        """What `undo` would take back, such as "split"; empty if nothing."""
        return self._history.done[-1].name if self._history.done else ""

    @property
    def can_redo(self) -> str:
        """What `redo` would do again; empty if nothing."""
        return self._history.undone[-1].name if self._history.undone else ""

    def undo(self) -> None:
        """Take the last change back, whenever it was made; without effect if there is none."""
        if self._history.done:
            self._step("undo", self._history.done[-1])

    def redo(self) -> None:
        """Make the change again that was undone last; without effect if there is none."""
        if self._history.undone:
            self._step("redo", self._history.undone[-1])

    def save(self) -> None:
        """Write the table.

        Raises
        ------
        UserError
            If it cannot be written; nothing is lost, the journal has everything.
        """
        if not self.read_only and self._line > self._state.notes.saved:
            self._write_pending()
            self._state.save(self._line)

    def close(self) -> None:
        """Save and let others correct the result; nothing can be changed any more.

        Raises
        ------
        UserError
            As `save`; it is closed all the same.
        """
        try:
            self.save()
        finally:
            self.read_only = f"{self.path.name} is closed."
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _state(self) -> State:
        return self.canvas.state

    def _prepare(self) -> None:
        """Make sure that what comes next can be done."""
        if self.read_only:
            raise UserError(f"Nothing can be changed: {self.read_only}")
        self._write_pending()

    def _step(self, way: Literal["undo", "redo"], recorded: Recorded) -> None:
        self._prepare()
        edit = recorded.edit()
        self._record([{way: recorded.number}])
        self._follow(edit if way == "redo" else edit.inverse())

    def _record(self, lines: list[Line]) -> None:
        for line in self._journal.append(lines, self._line + 1):
            self._history.take(line)
        self._line = self._journal.last

    def _follow(self, edit: Edit) -> None:
        """Follow the journal, in this order: should the labels fail, all else is right."""
        news = self._news(edit)
        self._state.apply(edit)
        self._unwritten = edit.pixels
        try:
            self._write_pending()
        finally:
            for tell in self.changed:
                tell(news)

    def _write_pending(self) -> None:
        if self._unwritten is not None:
            with write_errors(self.path):
                self._unwritten.write(self.canvas.levels)
            self._unwritten = None

    def _news(self, edit: Edit) -> Changed:
        """Return what an edit that is about to be applied changes."""
        labels = edit.labels
        boxes = [] if edit.pixels is None else [edit.pixels.box]
        known = labels[self._state.table.known(labels)]
        if len(known):
            boxes.append(self.canvas.around(known))
        return Changed(
            reduce(Box.union, boxes) if boxes else None,
            labels,
            types=edit.types is not None,
            reviewed=edit.reviewed is not None,
            checked=edit.checked is not None,
        )

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
