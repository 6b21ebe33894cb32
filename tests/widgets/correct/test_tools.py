"""Every tool, by mouse and keys, with undo and redo."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import Qt

from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.tools import Tool
from tests.widgets.correct.hands import (
    across,
    at_work,
    box_around,
    check_shown,
    click,
    drag,
    hold,
    largest,
    let_go,
    press,
    redo,
    row_of,
    session_of,
    status_at,
    undo,
)

Told = Callable[[], list[str]]


def test_every_tool_is_undone_and_redone(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, told: Told
) -> None:
    session = session_of(widget)
    check_shown(widget, viewer)
    states, tables = [nuclei.data.copy()], [session.table()]

    def done() -> None:
        assert not widget.status.text()
        check_shown(widget, viewer)
        states.append(nuclei.data.copy())
        tables.append(session.table())

    row = largest(widget)
    press(widget, Qt.Key.Key_S)
    assert widget.panel.tools.buttons[Tool.SPLIT].isChecked()
    drag(widget, across(row))
    assert len(session.table()) == len(tables[0]) + 1
    done()

    press(widget, Qt.Key.Key_G)
    click(widget, row_of(widget, session.next_label - 1))
    click(widget, row_of(widget, row["label"]))
    assert len(session.table()) == len(tables[0])
    done()

    press(widget, Qt.Key.Key_D)
    click(widget, row)
    assert session.rows([row["label"]]).empty
    done()

    others = session.table().iloc[:2]
    press(widget, Qt.Key.Key_2)
    assert widget.panel.tools.buttons[Tool.CLASSIFY].isChecked()
    for _, other in others.iterrows():
        click(widget, other)
    assert (session.rows(others["label"])["type"] == "pale").all()
    assert "type: pale" in status_at(nuclei, others.iloc[0])
    done()

    press(widget, Qt.Key.Key_1)
    drag(widget, [(-1, -1), (300, -1), (300, 300), (-1, 300)])  # around all
    assert session.counts()["dark"] == len(tables[-1])
    done()

    press(widget, Qt.Key.Key_P)
    press(widget, Qt.Key.Key_2)  # the class of what is painted
    x, y = row["centroid_x"], row["centroid_y"]  # where one was deleted
    drag(widget, [(x, y), (x + 3, y)])
    (new,) = set(session.table()["label"]) - set(tables[-1]["label"])
    assert row_of(widget, new)["type"] == "pale"
    done()

    drag(widget, [(x, y), (x - 4, y)])  # begun on it: the same one
    assert session.next_label == new + 1
    done()

    press(widget, Qt.Key.Key_E)
    drag(widget, [(x, y), (x + 1, y)])
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


def test_the_brush_follows_a_new_nucleus_to_its_label(
    widget: CorrectWidget, nuclei: Labels
) -> None:
    session = session_of(widget)
    label = session.next_label
    y, x = np.argwhere(nuclei.data == 0)[0]
    nuclei.selected_label = label + 50
    nuclei.data[y, x] = label + 50
    assert at_work(widget).take_in()
    assert nuclei.selected_label == label == nuclei.data[y, x]


def test_merge_by_a_line_and_delete_by_a_lasso(widget: CorrectWidget, viewer: Viewer) -> None:
    session = session_of(widget)
    row = largest(widget)
    press(widget, Qt.Key.Key_S)
    drag(widget, across(row))
    press(widget, Qt.Key.Key_G)
    x = row["centroid_x"]
    drag(widget, [(x, y) for y in np.linspace(row["centroid_y"] - 3, row["centroid_y"] + 3, 9)])
    np.testing.assert_allclose(row_of(widget, row["label"])["area_um2"], row["area_um2"])
    press(widget, Qt.Key.Key_D)
    x, y = row["centroid_x"], row["centroid_y"]
    drag(widget, [(x - 2, y - 2), (x + 2, y - 2), (x + 2, y + 2), (x - 2, y + 2)])
    assert session.rows([row["label"]]).empty
    check_shown(widget, viewer)


def test_review(widget: CorrectWidget, viewer: Viewer) -> None:
    session = session_of(widget)
    table = session.table()
    row = table[(table["x0"] > 5) & (table["y0"] > 5)].iloc[0]  # away from the border
    press(widget, Qt.Key.Key_R)
    drag(widget, box_around(row))
    (region,) = session.reviewed
    assert region == (row["x0"] - 2, row["y0"] - 2, row["x1"] + 3, row["y1"] + 3)
    (frame,) = viewer.layers["reviewed"].data
    x0, y0, x1, y1 = region
    np.testing.assert_array_equal(frame.min(0), [y0 - 0.5, x0 - 0.5])  # between the pixels
    np.testing.assert_array_equal(frame.max(0), [y1 - 0.5, x1 - 0.5])
    np.testing.assert_array_equal(viewer.layers["reviewed"].scale, viewer.layers["nuclei"].scale)
    click(widget, row)  # takes the mark off
    assert not session.reviewed
    assert not len(viewer.layers["reviewed"].data)
    undo(widget)
    assert session.reviewed == [region]
    assert len(viewer.layers["reviewed"].data) == 1


def test_what_is_in_view_is_marked(widget: CorrectWidget, viewer: Viewer, nuclei: Labels) -> None:
    viewer.scene.camera.center = nuclei.data_to_world((100, 120))
    viewer.scene.camera.zoom = min(viewer.canvas.size) / (40 * 0.25)
    press(widget, Qt.Key.Key_M)
    ((x0, y0, x1, y1),) = session_of(widget).reviewed
    assert abs((x0 + x1) / 2 - 120) <= 1
    assert abs((y0 + y1) / 2 - 100) <= 1
    assert 40 <= min(x1 - x0, y1 - y0) <= 42


def test_space_moves_the_view_in_any_tool(widget: CorrectWidget, nuclei: Labels) -> None:
    press(widget, Qt.Key.Key_S)
    assert not nuclei.mouse_pan
    hold(widget, Qt.Key.Key_Space)
    assert nuclei.mouse_pan
    let_go(widget, Qt.Key.Key_Space)
    assert not nuclei.mouse_pan
    assert widget.panel.tools.buttons[Tool.SPLIT].isChecked()


def test_the_tissue_alone_can_be_seen(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels
) -> None:
    press(widget, Qt.Key.Key_P)
    press(widget, Qt.Key.Key_V)
    seen = [layer.visible for layer in viewer.layers]
    assert seen == [layer.name not in ("nuclei", "classes") for layer in viewer.layers]
    press(widget, Qt.Key.Key_V)
    assert all(layer.visible for layer in viewer.layers)
    assert widget.panel.tools.buttons[Tool.PAINT].isChecked()


def test_naparis_own_buttons_take_our_tools(widget: CorrectWidget, nuclei: Labels) -> None:
    press(widget, Qt.Key.Key_S)
    nuclei.mode = "paint"
    assert widget.panel.tools.buttons[Tool.PAINT].isChecked()
    nuclei.mode = "polygon"  # of which we have none
    assert widget.panel.tools.buttons[Tool.MOVE].isChecked()


def test_a_stroke_that_does_nothing_says_what_to_do(
    widget: CorrectWidget, nuclei: Labels, viewer: Viewer
) -> None:
    before = nuclei.data.copy()
    press(widget, Qt.Key.Key_S)
    drag(widget, [(0, y) for y in range(0, 30, 3)])
    assert "splits no nucleus" in widget.status.text()
    press(widget, Qt.Key.Key_D)
    ys, xs = np.nonzero(nuclei.data == 0)
    drag(widget, [(xs[0], ys[0])])
    assert widget.status.text() == "No nucleus there: click on one."
    np.testing.assert_array_equal(nuclei.data, before)
    click(widget, largest(widget))
    assert not widget.status.text()


def test_keys_go_back_to_napari(widget: CorrectWidget, nuclei: Labels) -> None:
    assert nuclei.keymap
    widget.start_button.click()
    assert not nuclei.keymap
    assert nuclei.mouse_pan
