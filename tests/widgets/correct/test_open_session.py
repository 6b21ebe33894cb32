"""Open a result for correction: moved images, other windows, labels changed by others."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.viewer import Viewer
from PIL import Image as Picture
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.inference import segment
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide, open_slide
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.shared.layers import nuclei_layers, placement, placement_of, renew
from napari_nucleus.widgets.shared.open_session import open_session
from tests.tissue import Decoder, Tissue
from tests.widgets.correct.hands import (
    across,
    check_shown,
    click,
    drag,
    largest,
    press,
    session_of,
    start,
    undo,
)

Told = Callable[[], list[str]]


def test_without_a_result_it_says_what_to_do(viewer: Viewer, qtbot: QtBot, told: Told) -> None:
    widget = CorrectWidget(viewer)
    qtbot.addWidget(widget)
    start(widget, qtbot)
    (message,) = told()
    assert "segment an image" in message
    assert widget.workspace is None


def test_a_second_window_is_read_only_and_says_so(
    closed: CorrectWidget, viewer: Viewer, nuclei: Labels, folder: Path, slide: Slide, qtbot: QtBot
) -> None:
    before = nuclei.data.copy()
    with EditSession(folder, slide) as first:
        start(closed, qtbot)
        assert "another window" in closed.status.text()
        assert not closed.panel.isEnabled()
        assert not nuclei.editable
        row = largest(closed)
        press(closed, Qt.Key.Key_D)
        click(closed, row)
        np.testing.assert_array_equal(nuclei.data, before)
        first.apply(operations.delete, [row["label"]])  # not disturbed
        closed.start_button.click()
    assert nuclei.editable
    start(closed, qtbot)  # now it is the only one, and sees what the other has done
    assert "current state" in closed.status.text()
    assert not (nuclei.data == row["label"]).any()
    check_shown(closed, viewer)


def test_labels_painted_before_are_taken_in(
    closed: CorrectWidget, viewer: Viewer, nuclei: Labels, qtbot: QtBot
) -> None:
    painted = nuclei.data == 3
    nuclei.data[painted] = 0
    start(closed, qtbot)
    assert session_of(closed).rows([3]).empty
    check_shown(closed, viewer)
    undo(closed)
    assert (nuclei.data[painted] == 3).all()


def test_labels_changed_by_code_are_taken_in(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, qtbot: QtBot
) -> None:
    session = session_of(widget)
    before = session.next_label
    three, four = nuclei.data == 3, nuclei.data == 4
    nuclei.data[three] = 0  # of which napari tells nobody
    press(widget, Qt.Key.Key_D)
    click(widget, largest(widget))
    assert session.rows([3]).empty
    check_shown(widget, viewer)
    nuclei.data = np.where(four, 0, nuclei.data)
    assert session.rows([4]).empty
    assert session.can_undo == "paint"
    check_shown(widget, viewer)
    nuclei.data_setitem(np.nonzero(four), 77_000)  # a number that nobody has given
    qtbot.waitUntil(lambda: session.next_label > before)
    (new,) = np.unique(nuclei.data[four])
    assert new == session.next_label - 1
    check_shown(widget, viewer)
    for _ in range(4):
        undo(widget)
    assert (nuclei.data[three] == 3).all()
    check_shown(widget, viewer)


def test_labels_of_another_size_are_put_back(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels
) -> None:
    before = nuclei.data.copy()
    nuclei.data = before[:50]
    assert "previous ones were restored" in widget.status.text()
    np.testing.assert_array_equal(nuclei.data, before)
    check_shown(widget, viewer)


def test_another_result_in_the_layer_is_no_correction(
    widget: CorrectWidget, nuclei: Labels, slide: Slide, tmp_path: Path
) -> None:
    """As when the image is segmented again while it is corrected."""
    path = session_of(widget).path
    again = segment(slide, tmp_path / "again.nucleus", Decoder(), region=(0, 0, 100, 100))
    renew(nuclei, nuclei_layers(again, placement_of(nuclei))[0])
    assert widget.workspace is None
    assert (path / "edits.jsonl").stat().st_size == 0
    np.testing.assert_array_equal(nuclei.data, again.read_labels(0, 0, *slide.shape[::-1]))


def test_a_layer_that_is_removed_ends_the_correction(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, folder: Path, slide: Slide
) -> None:
    viewer.layers.remove(nuclei)
    assert widget.workspace is None
    assert [layer.name for layer in viewer.layers] == ["made", "classes"]
    with EditSession(folder, slide) as session:
        assert not session.read_only


@pytest.fixture
def moved(made: Tissue, tmp_path: Path) -> Path:
    """Return a result whose image was moved from `a` to `b`."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    Picture.fromarray(made.coded()).save(tmp_path / "a" / "made.png")
    slide = open_slide(tmp_path / "a" / "made.png", mpp=0.25)
    result = segment(slide, tmp_path / "moved.nucleus", Decoder())
    shutil.move(tmp_path / "a" / "made.png", tmp_path / "b")
    return result.path


@pytest.mark.slow
def test_an_image_that_moved_is_asked_for_once(
    moved: Path,
    viewer: Viewer,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for layer in nuclei_layers(open_result(moved), placement(0.25)):
        viewer.add_layer(layer)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    image = moved.parent / "b" / "made.png"
    asked: list[str] = []

    def choose(parent: object, title: str) -> tuple[str, str]:
        asked.append(title)
        return str(image), ""

    monkeypatch.setattr(QFileDialog, "getOpenFileName", choose)
    for _ in range(2):
        start(widget, qtbot)
        assert widget.workspace is not None
        widget.finish()
    assert asked == ["Locate the image of moved.nucleus"]
    shown = viewer.layers["made"]
    assert isinstance(shown, Image)
    np.testing.assert_array_equal(shown.extent.world, viewer.layers["nuclei"].extent.world)


def test_an_image_that_is_not_found_is_one_line(
    moved: Path, viewer: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    for layer in nuclei_layers(open_result(moved), placement(0.25)):
        viewer.add_layer(layer)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    start(widget, qtbot)
    assert "put the image back" in told()[-1]
    assert widget.start_button.isEnabled()
    assert widget.workspace is None


def test_closing_saves(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, folder: Path, qtbot: QtBot
) -> None:
    press(widget, Qt.Key.Key_S)
    drag(widget, across(largest(widget)))
    counts = session_of(widget).counts()
    widget.start_button.click()
    assert nuclei.metadata["counts"] == counts == open_result(folder).run["counts"]
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes"]
    start(widget, qtbot)
    assert not widget.status.text()
    undo(widget)
    check_shown(widget, viewer)
    assert session_of(widget).counts()["nuclei"] == counts["nuclei"] - 1


def _correct_and_die(folder: Path) -> None:
    session = open_session(folder, None)
    session.apply(operations.delete, [3])
    session.apply(operations.reclassify, [4], "pale")
    session.apply(annotations.mark_reviewed, (10, 10, 60, 60))
    os._exit(1)


@pytest.mark.slow
def test_a_killed_window_leaves_everything(
    closed: CorrectWidget, viewer: Viewer, nuclei: Labels, moved: Path, qtbot: QtBot
) -> None:
    shutil.copy(moved.parent / "b" / "made.png", moved.parent / "a" / "made.png")
    process = multiprocessing.get_context("spawn").Process(target=_correct_and_die, args=(moved,))
    process.start()
    process.join(300)
    assert process.exitcode == 1
    viewer.layers.clear()
    for layer in nuclei_layers(open_result(moved), placement(0.25)):
        viewer.add_layer(layer)
    start(closed, qtbot)
    session = session_of(closed)
    assert session.reviewed == [(10, 10, 60, 60)]
    assert session.rows([3]).empty
    assert session.rows([4])["type"].item() == "pale"
    check_shown(closed, viewer)
    for name in ("mark as reviewed", "reclassify", "delete"):
        assert session.can_undo == name
        undo(closed)
    assert (viewer.layers["nuclei"].data == 3).any()
    check_shown(closed, viewer)
