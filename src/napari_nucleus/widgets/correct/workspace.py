"""A result laid out in the viewer for correction: layers, lines, mouse and keys."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from napari.layers import Labels, Layer
from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.results import open_result
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.correct.controller import Controller
from napari_nucleus.widgets.correct.keys import bind_keys, unbind_keys
from napari_nucleus.widgets.correct.layers import EditingLayers, layers_over
from napari_nucleus.widgets.correct.mouse import DragHandler
from napari_nucleus.widgets.correct.overlay import Frames, Sketch
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.layers import (
    hide_types,
    journal_size,
    nuclei_layers,
    placement_of,
    renew,
)
from napari_nucleus.widgets.shared.shown_results import shown_results
from napari_nucleus.widgets.shared.viewport import Viewport

# Milliseconds in which the window draws.
_DRAW_MS = 50


class Workspace:
    """Lays out a result for correction, and clears everything away again.

    Attributes
    ----------
    controller
        What tools and keys are about.
    view
        The camera.

    Parameters
    ----------
    viewer : Viewer
        The viewer.
    session : EditSession
        The result.
    nuclei, classes : Labels
        The layers that show it.
    box : Box
        What to correct of a large result; all of one that napari can paint in.
    tell : callable
        Shows the user one line.
    ask : callable
        Asks for a nucleus that is missing (`NucleusAdder.ask`).
    lost : callable
        Called when the layer is gone, or shows something else.

    Raises
    ------
    UserError
        If `box` is too large.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: EditSession,
        nuclei: Labels,
        classes: Labels,
        box: Box,
        tell: Callable[[str], object],
        ask: Callable[..., object],
        lost: Callable[[], object],
    ) -> None:
        self._viewer = viewer
        self._whole = (nuclei, classes)
        self._lost = lost
        self._writable = not session.read_only
        self._painted = QTimer()
        self._painted.setSingleShot(True)
        placement = placement_of(nuclei)
        frames, sketch = Frames(session.shape, placement), Sketch(session.shape, placement)
        self._added: list[Layer] = [frames.layer, sketch.layer]
        if nuclei.multiscale:
            self._layers = layers_over(session, nuclei, classes, box)
            parts = (self._layers.nuclei, self._layers.classes)
            self._added[:0] = parts
        else:
            self._layers = EditingLayers(session, nuclei, classes, nuclei, box)
        self.viewport = Viewport(viewer, nuclei)
        self.controller = Controller(
            session, self._layers, frames, sketch, self.viewport, tell, ask
        )
        self._drag_handler = DragHandler(
            lambda: self.controller.drawing,
            self._layers.to_pixel,
            self.controller.trace,
            self.controller.click,
            self.controller.stroke,
        )
        above = max(viewer.layers.index(one) for one in self._whole) + 1
        for position, layer in enumerate(self._added, above):
            viewer.layers.insert(position, layer)
        if nuclei.multiscale:
            for one in self._whole:
                one.visible = False
        if self._writable:
            shown_results.editors[session.path] = self.controller
        session.changed.append(self._on_changed)
        self._on_changed()
        self._connect()
        self._meet_others(nuclei, tell)

    def choose_layer(self) -> None:
        """Make the layer active whose keys and mouse are ours."""
        self._viewer.layers.selection.active = self._layers.nuclei

    def hide_types(self, hidden: Sequence[str]) -> None:
        """Draw the nuclei of all types but some."""
        hide_types(self.controller.session.path, hidden, self._viewer.layers)

    def clear(self, done: Callable[[], object]) -> None:
        """Close the session, show what was corrected, and remove what was added.

        Parameters
        ----------
        done : callable
            Called at the end, which for a large result is a while later.
        """
        session = self.controller.session
        self._disconnect()
        self.controller.take_in()
        edits = journal_size(session.path)  # while nobody else can add to it
        self.controller.close()
        if self._writable:
            del shown_results.editors[session.path]
        self._done = done
        nuclei, _ = self._whole
        if nuclei.multiscale:
            in_background(_layers_of, session, nuclei, then=self._renew)
            return
        if self._layers.ours and self._writable:
            for one in self._whole:
                one.metadata["edits"] = edits
        self._remove()

    def _renew(self, found: tuple[Labels, Labels] | Failure) -> None:
        if isinstance(found, Failure):
            self._remove()
            raise found.error
        for layer, new in zip(self._whole, found, strict=True):
            renew(layer, new)
            layer.visible = True
        # Mesa's OpenGL crashes if they are not drawn before the region goes.
        QTimer.singleShot(_DRAW_MS, self._remove)

    def _remove(self) -> None:
        for layer in self._added:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        if self._whole[0] in self._viewer.layers:
            self._viewer.layers.selection.active = self._whole[0]
        shown_results.changed.emit(self.controller.session.path)
        self._done()

    def _connect(self) -> None:
        layer = self._layers.nuclei
        self._viewer.layers.events.removed.connect(self._on_removed)
        if not self._writable:
            layer.editable = False
            return
        layer.mouse_drag_callbacks.insert(0, self._pick_up)  # before napari begins to paint
        layer.mouse_drag_callbacks.append(self._drag_handler)
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_data)
        layer.events.mode.connect(self._on_mode)
        self._painted.timeout.connect(self.controller.take_in)
        bind_keys(layer, self.controller, self.viewport)
        self.choose_layer()

    def _disconnect(self) -> None:
        layer = self._layers.nuclei
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        if not self._writable:
            layer.editable = True
            return
        layer.mouse_drag_callbacks.remove(self._pick_up)
        layer.mouse_drag_callbacks.remove(self._drag_handler)
        layer.events.paint.disconnect(self._on_paint)
        layer.events.data.disconnect(self._on_data)
        layer.events.mode.disconnect(self._on_mode)
        self._painted.stop()
        unbind_keys(layer)
        layer.mode = "pan_zoom"
        layer.mouse_pan = True
        layer.cursor = "standard"

    def _meet_others(self, nuclei: Labels, tell: Callable[[str], object]) -> None:
        """Take in what was painted before; but not over what another window has corrected."""
        if nuclei.multiscale:
            return
        session = self.controller.session
        if nuclei.metadata["edits"] == journal_size(session.path):
            self.controller.take_in()
        elif (nuclei.data != self._layers.known).any():
            self._layers.restore()
            tell(f"{session.path.name} was corrected elsewhere: its current state is shown.")

    def _on_changed(self, changed: Changed | None = None) -> None:
        """Tell all widgets of the types and counts as they are now."""
        session = self.controller.session
        if self._layers.ours:
            known = {"types": session.types, "counts": self.controller.counts}
            for one in (*self._whole, self._layers.nuclei, self._layers.classes):
                one.metadata.update(known)
        shown_results.changed.emit(session.path)

    def _pick_up(self, layer: Labels, event: Any) -> Iterator[None]:
        if layer.mode == "paint" and event.button == 1:
            self.controller.pick_up(*self._layers.to_pixel(event.position))
        yield

    def _on_paint(self, event: Any) -> None:
        # napari tells of some changes before it makes them.
        self._painted.start(0)

    def _on_data(self, event: Any) -> None:
        if self._layers.ours:
            self.controller.take_in()
        else:
            self._lost()

    def _on_mode(self, event: Any) -> None:
        self.controller.follow_mode(str(self._layers.nuclei.mode))

    def _on_removed(self, event: Any) -> None:
        if event.value in (self._layers.nuclei, self._layers.classes, *self._whole):
            self._lost()


def _layers_of(session: EditSession, nuclei: Labels) -> tuple[Labels, Labels]:
    return nuclei_layers(open_result(session.path), placement_of(nuclei))
