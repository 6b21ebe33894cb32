"""The keys of *Correct nuclei*: what they do, and how they are shown."""

from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from typing import NamedTuple

from napari.layers import Labels
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_nucleus.widgets.correct.controller import Controller
from napari_nucleus.widgets.correct.tools import Tool
from napari_nucleus.widgets.shared.viewport import Viewport

_ZOOM = 1.3


class Key(NamedTuple):
    """One key, or several with one meaning.

    Attributes
    ----------
    shown : str
        As the user reads it.
    does : str
        What it does, in a few words.
    keys : tuple of str
        As napari names them, none where napari has bound them itself or another line has them.
    """

    shown: str
    does: str
    keys: tuple[str, ...]


KEYS = {
    "Tools": [
        *(Key(tool.key, f"{tool.title}: {tool.hint}", (tool.key,)) for tool in Tool),
        Key("Space", "Hold to move the view in any tool", ("Space",)),
        Key("[ ]", "Decrease or increase the brush size", ()),
        Key("Ctrl+Z", "Undo", ("Control-Z",)),
        Key("Ctrl+Shift+Z", "Redo", ("Control-Shift-Z",)),
    ],
    "Classes": [
        Key(
            "1 … 9", "Choose a class, then click nuclei or draw around several", tuple("123456789")
        ),
        Key("1 … 9", "While painting or adding: class of new nuclei", ()),
        Key("1 … 9", "During the review: set the class of the nucleus and go on", ()),
    ],
    "Review uncertain nuclei": [
        Key("N", "Start the review, or skip the nucleus", ("N",)),
        Key("B", "Go back to the previous nucleus", ("B",)),
        Key("Y", "Accept the nucleus and go on", ("Y",)),
        Key("Delete, Backspace", "Delete the nucleus and go on", ("Delete", "Backspace")),
    ],
    "View": [
        Key("V", "Show or hide the segmentation", ("V",)),
        Key("Arrows", "Move the view", ("Left", "Right", "Up", "Down")),
        Key("=  -", "Zoom in, zoom out", ("=", "-")),
        Key("O", "Correct the visible area of a large slide", ("O",)),
        Key("M", "Mark the visible area as reviewed", ("M",)),
    ],
}
"""All keys, by what they are for."""


def bind_keys(layer: Labels, controller: Controller, viewport: Viewport) -> None:
    """Bind all keys to a layer, where they come before napari's own."""
    actions: dict[str, Callable[[], object]] = {
        "Control-Z": controller.undo,
        "Control-Shift-Z": controller.redo,
        "N": lambda: controller.review(True) if controller.queue is None else controller.go_on(),
        "B": controller.go_back,
        "Y": controller.accept,
        "Delete": controller.delete,
        "Backspace": controller.delete,
        "V": controller.layers.toggle,
        "Left": lambda: viewport.move_by(-1, 0),
        "Right": lambda: viewport.move_by(1, 0),
        "Up": lambda: viewport.move_by(0, -1),
        "Down": lambda: viewport.move_by(0, 1),
        "=": lambda: viewport.zoom_by(_ZOOM),
        "-": lambda: viewport.zoom_by(1 / _ZOOM),
        "M": controller.mark_visible,
        "O": controller.open_visible,
    }
    actions |= {tool.key: partial(controller.take, tool) for tool in Tool}
    actions |= {str(number + 1): partial(controller.classify, number) for number in range(9)}
    for key, action in actions.items():
        layer.bind_key(key, lambda _, action=action: action(), overwrite=True)

    def hold_to_move(_: Labels) -> Iterator[None]:
        tool = controller.tool
        controller.take(Tool.MOVE)
        yield
        controller.take(tool)

    layer.bind_key("Space", hold_to_move, overwrite=True)


def unbind_keys(layer: Labels) -> None:
    """Give all keys back to napari."""
    for key in (key for group in KEYS.values() for one in group for key in one.keys):
        layer.bind_key(key, None)


class KeysDialog(QDialog):
    """Shows all keys; stays open beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Correct nuclei: keys")
        rows = []
        for title, keys in KEYS.items():
            rows.append(f"<tr><td colspan='2'><br><b>{title}</b></td></tr>")
            rows += [
                f"<tr><td>{escape(key.shown)}</td><td>{escape(key.does)}</td></tr>" for key in keys
            ]
        text = QLabel(f"<table cellpadding='2'>{''.join(rows)}</table>")
        QVBoxLayout(self).addWidget(text)
