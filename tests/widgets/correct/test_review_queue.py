"""From one uncertain nucleus to the next, by keys."""

import pandas as pd
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import Qt

from napari_nucleus.edits.review_queue import uncertain_nuclei
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.review_queue import UncertainNucleus
from tests.widgets.correct.hands import (
    at_work,
    check_shown,
    press,
    redo,
    row_of,
    session_of,
    undo,
)


def current(widget: CorrectWidget) -> UncertainNucleus:
    queue = at_work(widget).queue
    assert queue is not None
    assert queue.current is not None
    return queue.current


def to_review(widget: CorrectWidget) -> pd.DataFrame:
    session = session_of(widget)
    return uncertain_nuclei(session.table(), session.checked)


def test_keys_go_through_the_queue(widget: CorrectWidget, viewer: Viewer, nuclei: Labels) -> None:
    session = session_of(widget)
    expected = to_review(widget)["label"].tolist()
    press(widget, Qt.Key.Key_N)
    assert widget.panel.review.toggle_button.isChecked()
    assert current(widget).label == expected[0]
    first = row_of(widget, expected[0])
    y, x = nuclei.world_to_data(viewer.scene.camera.center)
    assert abs(x - (first["x0"] + first["x1"] - 1) / 2) < 1e-6
    assert abs(y - (first["y0"] + first["y1"] - 1) / 2) < 1e-6
    assert len(viewer.layers["drawing"].data) == 1  # the frame around it
    assert widget.panel.review.text.text().startswith(f"1 of 50: {first['type']}, ")

    press(widget, Qt.Key.Key_Y)
    assert current(widget).label == expected[1]
    press(widget, Qt.Key.Key_Delete)
    assert session.rows([expected[1]]).empty
    other = "pale" if row_of(widget, expected[2])["type"] == "dark" else "dark"
    press(widget, Qt.Key.Key_1 if other == "dark" else Qt.Key.Key_2)
    assert row_of(widget, expected[2])["type"] == other
    press(widget, Qt.Key.Key_N)
    assert current(widget).label == expected[4]
    check_shown(widget, viewer)
    press(widget, Qt.Key.Key_B)
    press(widget, Qt.Key.Key_B)
    assert current(widget).label == expected[2]
    press(widget, Qt.Key.Key_B)  # over the one that is deleted
    assert current(widget).label == expected[0]

    assert set(to_review(widget)["label"]) == set(expected[3:])
    undo(widget)  # and it shows what was undone
    assert current(widget).label == expected[2]
    undo(widget)
    assert current(widget).label == expected[1]
    undo(widget)
    assert to_review(widget)["label"].tolist() == expected
    redo(widget)
    assert to_review(widget)["label"].tolist() == expected[1:]


def test_the_end_of_the_review_is_shown(widget: CorrectWidget) -> None:
    count = len(to_review(widget))
    widget.panel.review.count.setValue(count)
    press(widget, Qt.Key.Key_N)
    for _ in range(count):
        press(widget, Qt.Key.Key_Y)
    assert widget.panel.review.text.text().startswith(f"All {count} nuclei are reviewed.")
    assert to_review(widget).empty
    press(widget, Qt.Key.Key_Y)
    assert "Review uncertain nuclei" in widget.status.text()


def test_without_the_queue_its_keys_say_so(widget: CorrectWidget, nuclei: Labels) -> None:
    before = nuclei.data.copy()
    press(widget, Qt.Key.Key_Delete)
    assert "Review uncertain nuclei" in widget.status.text()
    assert (nuclei.data == before).all()


def test_review_is_a_short_list_of_a_length_that_the_user_sets(widget: CorrectWidget) -> None:
    panel = widget.panel.review
    assert panel.count.value() == 50
    expected = to_review(widget)["label"].tolist()
    assert len(expected) > 3
    panel.count.setValue(3)
    panel.toggle_button.click()
    assert panel.text.text().startswith("1 of 3: ")
    for label in expected[:3]:
        assert current(widget).label == label
        press(widget, Qt.Key.Key_Y)
    assert panel.text.text().startswith("All 3 nuclei are reviewed.")
    press(widget, Qt.Key.Key_N)
    assert panel.text.text().startswith("1 of 3: ")
    assert current(widget).label == expected[3]
