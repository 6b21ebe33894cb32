"""Mouse and keys of a person who corrects, and what they should see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_nucleus.edits.session import EditSession
from napari_nucleus.results import open_result
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.controller import Controller

Points = Sequence[tuple[float, float]]

_KEYS: Any = QTest  # its stubs take functions for methods

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


def start(widget: CorrectWidget, qtbot: QtBot) -> None:
    """Press the button, and wait for the result to be open, or not."""
    with qtbot.waitSignal(widget.started, timeout=20_000):
        widget.start_button.click()


def at_work(widget: CorrectWidget) -> Controller:
    """Return what is being corrected."""
    assert widget.workspace is not None
    return widget.workspace.controller


def session_of(widget: CorrectWidget) -> EditSession:
    return at_work(widget).session


def drag(widget: CorrectWidget, points: Points) -> None:
    """Press the left button at the first point (x, y) in level-0 pixels, and draw to the last."""
    layers = at_work(widget).layers

    def event(name: str, point: tuple[float, float]) -> object:
        return read_only_mouse_event(
            name,
            is_dragging=name == "mouse_move",
            button=1,
            position=layers.whole.data_to_world(point[::-1]),
            pos=np.array(point) * 5,
            view_direction=None,
            dims_displayed=[0, 1],
        )

    mouse_press_callbacks(layers.nuclei, event("mouse_press", points[0]))
    for point in points[1:]:
        mouse_move_callbacks(layers.nuclei, event("mouse_move", point))
    mouse_release_callbacks(layers.nuclei, event("mouse_release", points[-1]))
    QApplication.processEvents()


def click(widget: CorrectWidget, row: pd.Series) -> None:
    """Click a nucleus."""
    drag(widget, [(row["centroid_x"], row["centroid_y"])])


def press(
    widget: CorrectWidget,
    key: Qt.Key,
    modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
) -> None:
    """Press a key, as it reaches the window."""
    _KEYS.keyClick(_window(widget), key, modifiers)


def hold(widget: CorrectWidget, key: Qt.Key) -> None:
    """Press a key down."""
    _KEYS.keyPress(_window(widget), key)


def let_go(widget: CorrectWidget, key: Qt.Key) -> None:
    """Let a key go."""
    _KEYS.keyRelease(_window(widget), key)


def _window(widget: CorrectWidget) -> QWidget:
    window = widget.window()
    assert window is not None
    return window


def undo(widget: CorrectWidget) -> None:
    press(widget, Qt.Key.Key_Z, CONTROL)


def redo(widget: CorrectWidget) -> None:
    press(widget, Qt.Key.Key_Z, CONTROL | SHIFT)


def row_of(widget: CorrectWidget, label: int) -> pd.Series:
    return session_of(widget).rows([label]).iloc[0]


def largest(widget: CorrectWidget) -> pd.Series:
    return session_of(widget).table().nlargest(1, "area_um2").iloc[0]


def across(row: pd.Series) -> Points:
    """Return a line through the middle of a nucleus from left to right, in small steps."""
    return [
        (float(x), float(row["centroid_y"])) for x in np.linspace(row["x0"] - 3, row["x1"] + 3, 20)
    ]


def box_around(row: pd.Series, margin: float = 2) -> Points:
    """Return the diagonal of a box around a nucleus, in small steps."""
    steps = np.linspace([row["x0"], row["y0"]], [row["x1"], row["y1"]], 10)
    steps[0] -= margin
    steps[-1] += margin
    return [(float(x), float(y)) for x, y in steps]


def check_shown(widget: CorrectWidget, viewer: Viewer) -> None:
    """Hold layers and legend against what the session knows, and that against the folder."""
    session, layers = session_of(widget), at_work(widget).layers
    area = layers.box.x0, layers.box.y0, layers.box.width, layers.box.height
    labels = session.read_labels(*area)
    table = session.table()
    np.testing.assert_array_equal(layers.nuclei.data, labels)
    numbers = np.zeros(session.next_label, int)
    numbers[table["label"]] = table["type"].map(list(session.types).index) + 1
    np.testing.assert_array_equal(layers.classes.data, numbers[labels])
    rows = layers.nuclei.features.drop(columns="index")
    expected = table[table["label"].isin(rows["label"])].reset_index(drop=True)
    assert set(np.unique(labels)) - {0} <= set(rows["label"])
    pd.testing.assert_frame_equal(rows, expected, check_dtype=False)

    counts = table["type"].value_counts()
    for row, name in enumerate(session.types):
        items = [widget.panel.types.table.item(row, column) for column in (2, 3)]
        shown = [item and item.text() for item in items]
        assert shown == [name.replace("_", " "), str(counts.get(name, 0))]

    stored = open_result(session.path)
    np.testing.assert_array_equal(stored.read_labels(*area), labels)
    pd.testing.assert_frame_equal(stored.table(), table, check_dtype=False)


def status_at(layer: Labels, row: pd.Series) -> str:
    """Return what the status bar tells of a nucleus under the mouse."""
    ys, xs = np.nonzero(layer.data == row["label"])
    return layer.get_status(layer.data_to_world((ys[0], xs[0])), world=True)["value"]
