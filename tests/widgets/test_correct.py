"""The Correct widget in a window, driven by mouse and keys, held against session and files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
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

from napari_nucleus.edits.session import EditSession
from napari_nucleus.inference import segment
from napari_nucleus.result import open_result
from napari_nucleus.slides import Slide, slide_from_arrays
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correcting.tools import Tool
from napari_nucleus.widgets.layers import image_layer, nuclei_layers, placement_of
from tests.tissue import Decoder, Tissue

Told = Callable[[], list[str]]


@pytest.fixture
def slide(made: Tissue) -> Slide:
    return slide_from_arrays([made.coded()], 0.25, "made")


@pytest.fixture
def folder(slide: Slide, tmp_path: Path) -> Path:
    return segment(slide, tmp_path / "made.nucleus", Decoder()).path


@pytest.fixture
def nuclei(viewer: Viewer, slide: Slide, folder: Path) -> Labels:
    """Return the layer of a result in the viewer, upon an image that is scaled and moved."""
    image = image_layer(slide)
    image.translate = (30, -20)
    image.metadata["result"] = str(folder)
    viewer.add_layer(image)
    layers = nuclei_layers(open_result(folder), placement_of(image))
    for layer in layers:
        viewer.add_layer(layer)
    return layers[0]


@pytest.fixture
def widget(viewer: Viewer, nuclei: Labels, qtbot: QtBot) -> Iterator[CorrectWidget]:
    """Return the widget with the result open for correction."""
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    start(widget, qtbot)
    yield widget
    widget.finish()


def start(widget: CorrectWidget, qtbot: QtBot) -> None:
    with qtbot.waitSignal(widget.started, timeout=20_000):
        widget.start_button.click()


def session_of(widget: CorrectWidget) -> EditSession:
    assert widget.desk is not None
    return widget.desk.correcting.session


def drag(layer: Labels, points: list[tuple[float, float]]) -> None:
    """Press the left button at the first point (x, y), in level-0 pixels, and draw to the last."""

    def event(kind: str, point: tuple[float, float]) -> object:
        world = layer.data_to_world(point[::-1])
        return read_only_mouse_event(
            kind,
            is_dragging=kind == "mouse_move",
            button=1,
            position=world,
            pos=np.array(point) * 5,
            view_direction=None,
            dims_displayed=[0, 1],
        )

    mouse_press_callbacks(layer, event("mouse_press", points[0]))
    for point in points[1:]:
        mouse_move_callbacks(layer, event("mouse_move", point))
    mouse_release_callbacks(layer, event("mouse_release", points[-1]))


def click(layer: Labels, point: tuple[float, float]) -> None:
    drag(layer, [point])


def press(widget: CorrectWidget, key: Qt.Key, *modifiers: Qt.KeyboardModifier) -> None:
    """Press a key as it reaches the window."""
    held = Qt.KeyboardModifier.NoModifier
    for modifier in modifiers:
        held |= modifier
    QTest.keyClick(widget.window(), key, held)


def undo(widget: CorrectWidget) -> None:
    press(widget, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def redo(widget: CorrectWidget) -> None:
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    press(widget, Qt.Key.Key_Z, control, shift)


def largest(widget: CorrectWidget) -> pd.Series:
    table = session_of(widget).table()
    return table.nlargest(1, "area_um2").iloc[0]


def across(row: pd.Series) -> list[tuple[float, float]]:
    """Return a line through the middle of a nucleus from left to right, in small steps."""
    xs = np.linspace(row["x0"] - 3, row["x1"] + 3, 20)
    return [(float(x), float(row["centroid_y"])) for x in xs]


def around(row: pd.Series) -> list[tuple[float, float]]:
    x, y, r = row["centroid_x"], row["centroid_y"], 2.0
    return [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)]


def check_shown(widget: CorrectWidget, viewer: Viewer) -> None:
    """Hold the layers against what the session knows, and that against the folder."""
    session = session_of(widget)
    height, width = session.shape
    labels = session.read_labels(0, 0, width, height)
    nuclei, classes = viewer.layers["nuclei"], viewer.layers["classes"]
    np.testing.assert_array_equal(nuclei.data, labels)
    np.testing.assert_array_equal(
        open_result(session.path).read_labels(0, 0, width, height), labels
    )
    table = session.table()
    numbers = np.zeros(session.next_label, int)
    numbers[table["label"]] = table["type"].map(list(session.types).index) + 1
    np.testing.assert_array_equal(classes.data, numbers[labels])
    shown = nuclei.features.drop(columns="index")
    pd.testing.assert_frame_equal(shown, table, check_dtype=False)
    pd.testing.assert_frame_equal(open_result(session.path).table(), table, check_dtype=False)
    counts = table["type"].value_counts()
    for row, name in enumerate(session.types):
        items = [widget.panel.types.table.item(row, column) for column in (2, 3)]
        assert [item and item.text() for item in items] == [name, str(counts.get(name, 0))]


def test_every_tool_is_undone_and_redone(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, told: Told
) -> None:
    session = session_of(widget)
    check_shown(widget, viewer)
    states = [nuclei.data.copy()]
    tables = [session.table()]

    def done() -> None:
        assert not widget.status.text()
        check_shown(widget, viewer)
        states.append(nuclei.data.copy())
        tables.append(session.table())

    row = largest(widget)
    press(widget, Qt.Key.Key_S)
    assert widget.panel.tools.buttons[Tool.SPLIT].isChecked()
    drag(nuclei, across(row))
    assert session.counts()["nuclei"] == len(tables[0]) + 1
    done()

    piece = session.rows([session.next_label - 1]).iloc[0]
    whole = session.rows([row["label"]]).iloc[0]
    press(widget, Qt.Key.Key_G)
    click(nuclei, (piece["centroid_x"], piece["centroid_y"]))
    click(nuclei, (whole["centroid_x"], whole["centroid_y"]))
    assert session.counts()["nuclei"] == len(tables[0])
    done()

    press(widget, Qt.Key.Key_D)
    click(nuclei, (row["centroid_x"], row["centroid_y"]))
    assert session.rows([row["label"]]).empty
    done()

    others = session.table().iloc[:2]
    press(widget, Qt.Key.Key_2)
    assert widget.panel.tools.buttons[Tool.CLASSIFY].isChecked()
    for _, other in others.iterrows():
        click(nuclei, (other["centroid_x"], other["centroid_y"]))
    assert (session.rows(others["label"])["type"] == "pale").all()
    done()

    press(widget, Qt.Key.Key_1)
    drag(nuclei, [(-1, -1), (300, -1), (300, 300), (-1, 300)])
    assert session.counts()["dark"] == len(tables[-1])
    done()

    press(widget, Qt.Key.Key_2)
    press(widget, Qt.Key.Key_P)
    press(widget, Qt.Key.Key_2)  # the class of what is painted
    free = (row["centroid_x"], row["centroid_y"])  # where one was deleted
    drag(nuclei, [free, (free[0] + 3, free[1])])
    (new,) = set(session.table()["label"]) - set(tables[-1]["label"])
    assert session.rows([new]).iloc[0]["type"] == "pale"
    done()

    drag(nuclei, [free, (free[0] - 4, free[1])])  # begun on it: the same one
    assert session.next_label == new + 1
    done()

    press(widget, Qt.Key.Key_E)
    drag(nuclei, [free, (free[0] + 1, free[1])])
    done()

    for state, table in zip(states[-2::-1], tables[-2::-1], strict=True):
        while not np.array_equal(nuclei.data, state) or not session.table().equals(table):
            assert session.can_undo
            undo(widget)
    assert not session.can_undo
    check_shown(widget, viewer)
    while session.can_redo:
        redo(widget)
    np.testing.assert_array_equal(nuclei.data, states[-1])
    pd.testing.assert_frame_equal(session.table(), tables[-1])
    check_shown(widget, viewer)
    assert not told()
