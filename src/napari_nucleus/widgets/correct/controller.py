"""Correct a result: what tools, keys and buttons do to the session and its layers."""

from collections.abc import Callable
from functools import wraps
from math import ceil, floor
from typing import Concatenate, ParamSpec

import numpy as np
import pandas as pd

from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.canvas import Points
from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.prompts.propose import Outline
from napari_nucleus.results.journal.edit import Edit, Region
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.correct.layers import EditingLayers
from napari_nucleus.widgets.correct.overlay import Frames, Sketch
from napari_nucleus.widgets.correct.review_queue import ReviewQueue
from napari_nucleus.widgets.correct.tools import MAKES_NUCLEI, Tool
from napari_nucleus.widgets.shared.preferences import preferences
from napari_nucleus.widgets.shared.viewport import Viewport

P = ParamSpec("P")

# Side of the region of a large result that opens around a nucleus under review, in pixels.
_AROUND = 1024


def guarded(
    action: Callable[Concatenate["Controller", P], object],
) -> Callable[Concatenate["Controller", P], bool]:
    """Take in what was painted, then act; show an error, and return whether there was none."""

    @wraps(action)
    def run(controller: "Controller", *arguments: P.args, **options: P.kwargs) -> bool:
        controller._tell("")
        try:
            controller.layers.take_in(controller.type_name)
            action(controller, *arguments, **options)
        except UserError as error:
            controller._tell(str(error))
            return False
        finally:
            controller._notify()
        return True

    return run


class Controller:
    """Tools, keys and buttons of a result that is being corrected in the window.

    Attributes
    ----------
    session : EditSession
        The result.
    layers : EditingLayers
        The layers in which it is corrected.
    queue : ReviewQueue or None
        The uncertain nuclei under review, None outside of a review.
    review_count : int
        Nuclei of the next review.
    counts : dict of str to int
        Number of all nuclei, as `nuclei`, and of every type.
    changed : list of callable
        Functions that are called when something that the widget shows may have changed.

    Parameters
    ----------
    session, layers : EditSession, EditingLayers
        See above.
    frames : Frames
        Frames of reviewed regions.
    sketch : Sketch
        Strokes, and frames around nuclei.
    viewport : Viewport
        The visible part of the result.
    tell : callable
        Shows the user one line, in place of the one before.
    propose : callable
        Asks for the outline of a nucleus of a type at a point (x, y) or in a box; it comes to
        `add`.
    """

    def __init__(
        self,
        session: EditSession,
        layers: EditingLayers,
        frames: Frames,
        sketch: Sketch,
        viewport: Viewport,
        tell: Callable[[str], object],
        propose: Callable[[tuple[float, float] | Box, str], object],
    ) -> None:
        self.session = session
        self.layers = layers
        self.queue: ReviewQueue | None = None
        self.review_count = preferences().reviewed
        self.counts = session.counts()
        self.changed: list[Callable[[], object]] = []
        self._frames = frames
        self._sketch = sketch
        self._viewport = viewport
        self._tell = tell
        self._propose = propose
        self._tool = Tool.MOVE
        self._type_index = 0
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
    def type_name(self) -> str:
        """The chosen class, which new nuclei get."""
        return list(self.session.types)[self._type_index]

    def choose(self, number: int) -> None:
        """Choose the class of a row of the legend, from 0 on."""
        if number < len(self.session.types):
            self._type_index = number
            self._notify()

    # What the mouse does

    @property
    def drawing(self) -> bool:
        """Whether clicks and strokes are ours: else napari paints, or moves the view."""
        return bool(self._tool.trace) and not self.layers.nuclei.mouse_pan

    def trace(self, points: Points) -> None:
        """Show the stroke so far."""
        self._sketch.trace(points, self._tool.trace, self._viewport.zoom)

    def pick_up(self, x: float, y: float) -> None:
        """Paint with the nucleus that a stroke begins on, or else a new one."""
        layer = self.layers.nuclei
        if layer.selected_label:  # not with the background, to rub out
            layer.selected_label = self.layers.label_at(x, y) or self.session.next_label

    @guarded
    def click(self, x: float, y: float) -> None:
        """Use the tool at a point."""
        match self._tool:
            case Tool.SPLIT:
                raise UserError("Draw a line across the nucleus, from side to side.")
            case Tool.MERGE:
                self._merge_next(self._nucleus_at(x, y))
            case Tool.DELETE:
                self.session.apply(operations.delete, [self._nucleus_at(x, y)])
            case Tool.ADD:
                self._check_free(x, y)
                self._propose((x, y), self.type_name)
            case Tool.CLASSIFY:
                label = self._nucleus_at(x, y)
                self.session.apply(operations.reclassify, [label], self.type_name)
            case Tool.REVIEW:
                self.session.apply(annotations.unmark_reviewed, x, y)

    @guarded
    def stroke(self, points: Points) -> None:
        """Use the tool along a line, in a lasso or in a box."""
        canvas = self.session.canvas
        match self._tool:
            case Tool.SPLIT:
                self.session.apply(operations.split, points)
            case Tool.MERGE:
                self.session.apply(operations.merge, canvas.along(points))
            case Tool.DELETE:
                self.session.apply(operations.delete, canvas.inside(points))
            case Tool.ADD:
                self._propose(_box(points), self.type_name)
            case Tool.CLASSIFY:
                self.session.apply(operations.reclassify, canvas.inside(points), self.type_name)
            case Tool.REVIEW:
                self.session.apply(annotations.mark_reviewed, _region(_box(points)))

    # What buttons and keys do

    @guarded
    def apply(self, operation: Callable[..., Edit | None], *arguments: object) -> None:
        """Correct the result (`EditSession.apply`)."""
        self.session.apply(operation, *arguments)

    @guarded
    def add(self, outline: Outline, type_name: str) -> None:
        """Add a nucleus that was proposed."""
        self.session.apply(operations.add, *outline, type_name)

    @guarded
    def open_visible(self) -> None:
        """Correct the visible area of a large result, in place of the region before."""
        self._open(self._viewport.visible())

    @guarded
    def mark_visible(self) -> None:
        """Mark the visible area as reviewed."""
        box = self._viewport.visible().grown(0, within=self.layers.box)
        self.session.apply(annotations.mark_reviewed, _region(box))

    # Review of uncertain nuclei

    @property
    def current_row(self) -> pd.Series | None:
        """The nucleus under review, as the table has it; None if there is none, or it is gone."""
        if self.queue is None or (current := self.queue.current) is None:
            return None
        rows = self.session.rows([current.label])
        return None if rows.empty else rows.iloc[0]

    @guarded
    def review(self, on: bool) -> None:
        """Begin or end the review of uncertain nuclei."""
        self.queue = ReviewQueue(self.session, self.review_count) if on else None
        self._look()

    @guarded
    def accept(self) -> None:
        """Accept the nucleus under review, and go on."""
        self._settle(operations.accept)

    @guarded
    def delete(self) -> None:
        """Delete the nucleus under review, and go on."""
        self._settle(operations.delete)

    @guarded
    def classify(self, number: int) -> None:
        """Give the nucleus under review a class, or choose it for those that are clicked next."""
        if self.queue is not None and self.queue.current is not None:
            if number < len(self.session.types):
                self._settle(operations.reclassify, list(self.session.types)[number])
            return
        self.choose(number)
        if self._tool not in MAKES_NUCLEI:
            self.take(Tool.CLASSIFY)

    @guarded
    def go_on(self) -> None:
        """Leave the nucleus under review as it is, and go on; after the last, to the next ones."""
        if self.queue is not None:
            if self.queue.current is None:
                self.queue = ReviewQueue(self.session, self.review_count)
            else:
                self.queue.go_on()
            self._look()

    @guarded
    def go_back(self) -> None:
        """Go back to the nucleus that was reviewed before."""
        if self.queue is not None:
            self.queue.go_back()
            self._look()

    def _settle(self, operation: Callable[..., Edit | None], *arguments: object) -> None:
        """Correct the nucleus under review, and go on."""
        if self.queue is None or (current := self.queue.current) is None:
            raise UserError("No nucleus is under review: press Review uncertain nuclei first.")
        self.session.apply(operation, [current.label], *arguments)
        self.queue.go_on()
        self._look()

    @guarded
    def show(self, label: int) -> None:
        """Bring a nucleus into view; in a large result, open the region around it."""
        self._show(label)

    def _look(self) -> None:
        """Show the nucleus under review."""
        if (row := self.current_row) is not None:
            self._show(row["label"])
        self._mark()

    def _show(self, label: int) -> None:
        (box,) = self.session.canvas.boxes(np.array([label]))
        if box.grown(0, within=self.layers.box) != box:
            self._open(self._around(box))
        self._viewport.look_at(box)

    def _open(self, box: Box) -> None:
        self.layers.move(box)
        self._show_regions()

    def _around(self, box: Box) -> Box:
        """Return the region of a large result around a nucleus."""
        height, width = self.session.shape
        x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
        return Box(x, y, x, y).grown(_AROUND // 2, within=Box(0, 0, width, height))

    # Undo and redo

    @guarded
    def undo(self) -> None:
        """Undo the last change."""
        self._step(self.session.undo, self.session.can_undo, ReviewQueue.go_back)

    @guarded
    def redo(self) -> None:
        """Redo the change that was undone last."""
        self._step(self.session.redo, self.session.can_redo, ReviewQueue.go_on)

    def _step(
        self, action: Callable[[], None], name: str, move: Callable[[ReviewQueue], None]
    ) -> None:
        """Undo or redo, and show the nucleus of a review that this is about."""
        self._last = None
        action()
        if self.queue is None or self._last is None:
            return
        if name == "accept":
            move(self.queue)
            self._look()
        elif any(map(self.queue.go_to, self.session.rows(self._last.labels)["label"].tolist())):
            self._look()

    @guarded
    def take_in(self) -> None:
        """Make what was painted, or changed by anyone else, part of the result."""

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
            self._type_index = min(self._type_index, len(self.session.types) - 1)
        self.layers.update(changed)
        if changed.reviewed:
            self._show_regions()
        if self._first and self._first in changed.labels:
            self._first = 0
        self._mark()

    def _nucleus_at(self, x: float, y: float) -> int:
        if label := self.layers.label_at(x, y):
            return label
        raise UserError("No nucleus there: click on one.")

    def _check_free(self, x: float, y: float) -> None:
        if self.layers.label_at(x, y):
            raise UserError("A nucleus is already there: split, merge or delete it.")

    def _merge_next(self, label: int) -> None:
        if self._first in (0, label):
            self._first = label if not self._first else 0
            self._mark()
        else:
            self.session.apply(operations.merge, [self._first, label])

    def _mark(self) -> None:
        """Frame the nucleus under review, and the first of two to merge."""
        labels = {self._first} - {0}
        if self.queue is not None and self.queue.current is not None:
            labels.add(self.queue.current.label)
        known = self.session.rows(labels)["label"].to_numpy()
        self._sketch.frame(self.session.canvas.boxes(known))

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


def _region(box: Box) -> Region:
    return box.x0, box.y0, box.x1, box.y1
