"""Correct a result: what tools, keys and buttons do to the session and its layers."""

from collections.abc import Callable
from math import ceil, floor
from typing import Protocol

import numpy as np
import pandas as pd

from napari_nucleus.edits.canvas import Points
from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.prompts.propose import Outline
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.correct.layers import EditingLayers
from napari_nucleus.widgets.correct.overlay import Frames, Sketch
from napari_nucleus.widgets.correct.review_queue import CheckQueue
from napari_nucleus.widgets.correct.tools import MAKES_NUCLEI, Tool

# Side of the region of a large result that opens around a nucleus to check, in pixels.
_AROUND = 2048


class Looks(Protocol):
    """What is seen of the result (`View`)."""

    @property
    def zoom(self) -> float: ...
    def visible(self) -> Box: ...
    def look_at(self, box: Box) -> None: ...


class Correcting:
    """A session in the window.

    Attributes
    ----------
    session, layers : EditSession
        The result, and the layers in which it is corrected.
    queue
        The nuclei to check, None while none are.
    counts
        The number of all nuclei, as `nuclei`, and of every type.
    changed
        Functions that are called when something that the widget shows may have changed.

    Parameters
    ----------
    session, layers : EditSession
        See above.
    frames, sketch : Frames
        Lines over the nuclei.
    view : Looks
        What is seen.
    tell : callable
        Shows the user one line, in place of the one before.
    propose : callable
        Asks for the outline of a nucleus at a point (x, y) or in a box, of which one is None, and
        of what type; `add` takes it in.
    """

    def __init__(
        self,
        session: EditSession,
        layers: EditingLayers,
        frames: Frames,
        sketch: Sketch,
        view: Looks,
        tell: Callable[[str], object],
        propose: Callable[[tuple[float, float] | Box, str], object],
    ) -> None:
        self.session = session
        self.layers = layers
        self.queue: CheckQueue | None = None
        self.counts = session.counts()
        self.changed: list[Callable[[], object]] = []
        self._frames = frames
        self._sketch = sketch
        self._view = view
        self._tell = tell
        self._propose = propose
        self._tool = Tool.MOVE
        self._kind = 0
        self._first = 0  # of two nuclei to merge
        self._last: Changed | None = None
        session.changed.append(self._on_changed)
        self._show_regions()

    # What is chosen

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._tool

    def take(self, tool: Tool) -> None:
        """Take a tool."""
        self._tool = tool
        if tool not in (Tool.MOVE, Tool.MERGE):
            self._first = 0
        layer = self.layers.nuclei
        if layer.mode != tool.mode:
            layer.mode = tool.mode
        if tool.mode == "pan_zoom":
            layer.mouse_pan = not tool.trace
            layer.cursor = "cross" if tool.trace else "standard"
        self._mark()
        self._notify()

    def follow_mode(self, mode: str) -> None:
        """Take the tool for a mode that was chosen among napari's own buttons."""
        if mode != self._tool.mode:
            self._tool = next((tool for tool in Tool if tool.mode == mode), Tool.MOVE)
            self._notify()

    @property
    def kind(self) -> str:
        """The chosen class, which new nuclei get."""
        return list(self.session.types)[self._kind]

    def choose(self, number: int) -> None:
        """Choose the class in a place of the legend, from 0 on."""
        if number < len(self.session.types):
            self._kind = number
            self._notify()

    # What the mouse does

    @property
    def drawing(self) -> bool:
        """Whether clicks and strokes are ours: else napari paints, or moves the view."""
        return bool(self._tool.trace) and not self.layers.nuclei.mouse_pan

    def trace(self, points: Points) -> None:
        """Show the stroke so far."""
        self._sketch.trace(points, self._tool.trace, self._view.zoom)

    def pick_up(self, x: float, y: float) -> None:
        """Paint with the nucleus that a stroke begins on, or else a new one."""
        layer = self.layers.nuclei
        if layer.selected_label:  # not with the background, to rub out
            layer.selected_label = self.layers.label_at(x, y) or self.session.next_label

    def click(self, x: float, y: float) -> None:
        """Use the tool at a point."""
        self.do(self._click, x, y)

    def _click(self, x: float, y: float) -> None:
        match self._tool:
            case Tool.SPLIT:
                raise UserError("Draw a line across the nucleus, from side to side.")
            case Tool.MERGE:
                self._merge_next(self._nucleus_at(x, y))
            case Tool.DELETE:
                self.session.delete([self._nucleus_at(x, y)])
            case Tool.ADD:
                self._check_free(x, y)
                self._propose((x, y), self.kind)
            case Tool.CLASSIFY:
                self.session.reclassify([self._nucleus_at(x, y)], self.kind)
            case Tool.REVIEW:
                self.session.unmark_reviewed(x, y)

    def stroke(self, points: Points) -> None:
        """Use the tool along a line, in a lasso or in a box."""
        self.do(self._stroke, points)

    def _stroke(self, points: Points) -> None:
        match self._tool:
            case Tool.SPLIT:
                self.session.split(points)
            case Tool.MERGE:
                self.session.merge(self.session.along(points))
            case Tool.DELETE:
                self.session.delete(self.session.inside(points))
            case Tool.ADD:
                self._propose(_box(points), self.kind)
            case Tool.CLASSIFY:
                self.session.reclassify(self.session.inside(points), self.kind)
            case Tool.REVIEW:
                box = _box(points)
                self.session.mark_reviewed((box.x0, box.y0, box.x1, box.y1))

    def add(self, outline: Outline, kind: str) -> None:
        """Add a nucleus that was proposed."""
        self.do(self.session.add, *outline, kind)

    def open_visible(self) -> None:
        """Correct what is in view of a large result, in place of the region before."""
        self.do(lambda: self._open(self._view.visible()))

    def _open(self, box: Box) -> None:
        self.layers.move(box)
        self._show_regions()

    def mark_visible(self) -> None:
        """Mark what is in view as reviewed."""
        self.do(self._mark_visible)

    def _mark_visible(self) -> None:
        box = self._view.visible().grown(0, within=self.layers.box)
        self.session.mark_reviewed((box.x0, box.y0, box.x1, box.y1))

    # Nuclei to check

    @property
    def checked_row(self) -> pd.Series | None:
        """The nucleus to check, as the table has it; None if there is none, or it is gone."""
        if self.queue is None or (current := self.queue.current) is None:
            return None
        rows = self.session.rows([current.label])
        return None if rows.empty else rows.iloc[0]

    def check(self, on: bool) -> None:
        """Begin or end to go from one doubtful nucleus to the next."""
        self.do(self._check, on)

    def _check(self, on: bool) -> None:
        self.queue = CheckQueue(self.session) if on else None
        self._look()

    def accept(self) -> None:
        """Mark the nucleus to check as right, and go on."""
        self._settle(lambda label: self.session.accept([label]))

    def delete(self) -> None:
        """Delete the nucleus to check, and go on."""
        self._settle(lambda label: self.session.delete([label]))

    def classify(self, number: int) -> None:
        """Give the nucleus to check a class, or choose it for those that are clicked next."""
        if self.queue is not None and self.queue.current is not None:
            if number < len(self.session.types):
                kind = list(self.session.types)[number]
                self._settle(lambda label: self.session.reclassify([label], kind))
            return
        self.choose(number)
        if self._tool not in MAKES_NUCLEI:
            self.take(Tool.CLASSIFY)

    def go_on(self) -> None:
        """Leave the nucleus to check as it is, and go on."""
        if self.queue is not None:
            self.queue.go_on()
            self._look()

    def go_back(self) -> None:
        """Go back to the nucleus that was looked at before."""
        if self.queue is not None:
            self.queue.go_back()
            self._look()

    def _settle(self, action: Callable[[int], object]) -> None:
        if self.queue is None or (current := self.queue.current) is None:
            self._tell("No nucleus is being checked: press Next to check first.")
        elif self.do(action, current.label):
            self.go_on()

    def _look(self) -> None:
        """Show the nucleus to check."""
        if (row := self.checked_row) is not None:
            box = Box(*(int(row[edge]) for edge in ("x0", "y0", "x1", "y1")))
            if box.grown(0, within=self.layers.box) != box:
                self.do(self._open, self._around(box))
            self._view.look_at(box)
        self._mark()
        self._notify()

    def _around(self, box: Box) -> Box:
        """Return the region of a large result around a nucleus."""
        height, width = self.session.shape
        x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
        return Box(x, y, x, y).grown(_AROUND // 2, within=Box(0, 0, width, height))

    # Back and forth

    def undo(self) -> None:
        """Take the last change back."""
        self._step(self.session.undo, self.session.can_undo == "accept", -1)

    def redo(self) -> None:
        """Make it again."""
        self._step(self.session.redo, self.session.can_redo == "accept", 1)

    def _step(self, action: Callable[[], None], accepted: bool, way: int) -> None:
        self._last = None
        if not self.do(action) or self.queue is None or self._last is None:
            return
        if accepted:
            self.go_back() if way < 0 else self.go_on()
        elif any(map(self.queue.go_to, self.session.rows(self._last.labels)["label"].tolist())):
            self._look()

    def do(self, action: Callable[..., object], *arguments: object) -> bool:
        """Take in what was painted, then act; return whether that went well."""
        self._tell("")
        try:
            self.layers.take_in(self.kind)
            action(*arguments)
        except UserError as error:
            self._tell(str(error))
            return False
        finally:
            self._notify()
        return True

    def take_in(self) -> bool:
        """Take in what was painted, or changed by anyone else; return whether that went well."""
        return self.do(lambda: None)

    def close(self) -> None:
        """Save, and leave the result to others."""
        try:
            self.session.close()
        except UserError as error:
            self._tell(str(error))

    def _on_changed(self, changed: Changed) -> None:
        self._last = changed
        self.counts = self.session.counts()
        if changed.types:
            self._kind = min(self._kind, len(self.session.types) - 1)
        self.layers.update(changed)
        if changed.reviewed:
            self._show_regions()
        if self._first and self._first in changed.labels:
            self._first = 0
        self._mark()

    def _nucleus_at(self, x: float, y: float) -> int:
        if label := self.layers.label_at(x, y):
            return label
        raise UserError("No nucleus is there: click into one.")

    def _check_free(self, x: float, y: float) -> None:
        if self.layers.label_at(x, y):
            raise UserError("A nucleus lies there already: split, merge or delete that one.")

    def _merge_next(self, label: int) -> None:
        if self._first in (0, label):
            self._first = label if not self._first else 0
            self._mark()
        else:
            self.session.merge([self._first, label])

    def _mark(self) -> None:
        """Frame the nucleus to check, and the first of two to merge."""
        labels = {self._first} - {0}
        if self.queue is not None and self.queue.current is not None:
            labels.add(self.queue.current.label)
        rows = self.session.rows(labels)
        edges = rows[["x0", "y0", "x1", "y1"]].to_numpy()
        self._sketch.frame([Box(*map(int, row)) for row in edges])

    def _show_regions(self) -> None:
        """Frame what is reviewed, and the region of a large result that is open."""
        edge = None if self.layers.all_there else self.layers.box
        self._frames.show(self.session.reviewed, edge)

    def _notify(self) -> None:
        for tell in self.changed:
            tell()


def _box(points: Points) -> Box:
    """Return the pixels that a box drawn from the first to the last point touches."""
    (x0, y0), (x1, y1) = np.sort([points[0], points[-1]], axis=0).tolist()
    return Box(floor(x0 + 0.5), floor(y0 + 0.5), ceil(x1 + 0.5), ceil(y1 + 0.5))
