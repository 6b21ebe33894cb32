"""Segment, correct, be killed, reopen, train, use, segment again: all of it, in real windows."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import napari
import numpy as np
import pytest
import tifffile
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMessageBox, QWidget

from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.results import open_result
from napari_nucleus.slides.examples import colon
from napari_nucleus.weights.store import DEFAULT_MODEL
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.segment import SegmentWidget, target
from napari_nucleus.widgets.segment.target import Target
from napari_nucleus.widgets.train import TrainWidget
from scripts.demo import wait_until
from tests.edits.folder import Snapshot, check_same, snapshot
from tests.widgets.conftest import live_in
from tests.widgets.correct.hands import (
    across,
    check_shown,
    click,
    drag,
    largest,
    press,
    redo,
    row_of,
    session_of,
    start,
    undo,
)

SIDE = 288
"""Pixels of the tissue's side: enough nuclei to train on, and few enough to be quick."""

WAIT = 120_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file of real tissue, which tells its scale."""
    slide = colon()
    assert slide.mpp is not None
    dots = 10_000 / slide.mpp  # per centimetre
    pixels = slide.read(80, 80, SIDE, SIDE)
    path = tmp_path / "tissue.tif"
    tifffile.imwrite(path, pixels, resolution=(dots, dots), resolutionunit="CENTIMETER")
    return path


def open_widget(viewer: Viewer, name: str) -> QWidget:
    """Open a widget of ours from napari's menu."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-nucleus", name)
    return widget


def segment(viewer: Viewer) -> SegmentWidget:
    """Segment the image in the window."""
    widget = open_widget(viewer, "Segment nuclei")
    assert isinstance(widget, SegmentWidget)
    widget.segment_button.click()
    wait_until(lambda: "classes" in viewer.layers and widget.segment_button.isEnabled())
    return widget


def correct(widget: CorrectWidget) -> None:
    """Split a nucleus, merge it again, delete it, add it anew, and change the class of others."""
    session = session_of(widget)
    row = largest(widget)
    count = len(session.table())

    press(widget, Qt.Key.Key_S)
    drag(widget, across(row))
    assert len(session.table()) == count + 1

    press(widget, Qt.Key.Key_G)
    click(widget, row_of(widget, session.next_label - 1))
    click(widget, row_of(widget, row["label"]))
    assert len(session.table()) == count

    press(widget, Qt.Key.Key_D)
    click(widget, row)
    assert session.rows([row["label"]]).empty

    new = session.next_label
    press(widget, Qt.Key.Key_A)
    press(widget, Qt.Key.Key_3)  # the class of what is added
    drag(widget, [(row["centroid_x"], row["centroid_y"])])
    wait_until(lambda: session.next_label > new or bool(widget.status.text()))
    added = row_of(widget, new)
    assert added["type"] == list(session.types)[2]
    assert abs(added["centroid_x"] - row["centroid_x"]) < 5
    assert abs(added["centroid_y"] - row["centroid_y"]) < 5

    press(widget, Qt.Key.Key_C)
    press(widget, Qt.Key.Key_2)
    lasso = [(-1, -1), (SIDE / 4, -1), (SIDE / 4, SIDE), (-1, SIDE)]
    drag(widget, lasso)
    changed = session.canvas.inside(lasso)
    assert len(changed) > 10
    assert set(session.rows(changed)["type"]) == {list(session.types)[1]}


def work_until_killed(file: Path, home: Path, answer: Connection) -> None:
    """Segment and correct in a window of this process; tell what is there; wait for the end."""
    live_in(home, setattr)
    viewer = napari.Viewer()
    viewer.open(file, plugin="napari-nucleus")
    segment(viewer)
    widget = open_widget(viewer, "Correct nuclei")
    assert isinstance(widget, CorrectWidget)
    widget.start_button.click()
    wait_until(lambda: widget.workspace is not None)
    session = session_of(widget)
    segmented = snapshot(session)

    correct(widget)
    corrected = snapshot(session)
    while session.can_undo:
        undo(widget)
    check_same(snapshot(session)._replace(redo=""), segmented)
    check_shown(widget, viewer)
    while session.can_redo:
        redo(widget)
    check_same(snapshot(session), corrected)

    press(widget, Qt.Key.Key_R)
    for top, bottom in ((0, SIDE // 2 - 1), (SIDE // 2, SIDE - 1)):
        drag(widget, [(0, top), (9, top + 9), (SIDE - 1, bottom)])
    check_shown(widget, viewer)
    answer.send((segmented, snapshot(session)))
    while True:
        QApplication.processEvents()


@pytest.fixture
def killed(file: Path, home: Path) -> tuple[Snapshot, Snapshot]:
    """Return what there was before and after all corrections, in a window that was killed then."""
    context = multiprocessing.get_context("spawn")
    answer, tell = context.Pipe(duplex=False)
    process = context.Process(target=work_until_killed, args=(file, home, tell))
    process.start()
    tell.close()  # ours: theirs closes where the process ends, and so `recv` does
    try:
        return answer.recv()
    finally:
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_the_whole_loop(
    killed: tuple[Snapshot, Snapshot],
    file: Path,
    viewer: Viewer,
    qtbot: QtBot,
    told: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    yes = QMessageBox.StandardButton.Yes  # where scores of the short training fell
    monkeypatch.setattr(QMessageBox, "question", lambda *_: yes)
    folder = file.with_suffix(".nucleus")
    segmented, corrected = killed

    # Everything is there, and can still be taken back.
    viewer.open(folder, plugin="napari-nucleus")
    correcting = open_widget(viewer, "Correct nuclei")
    assert isinstance(correcting, CorrectWidget)
    start(correcting, qtbot)
    assert not correcting.status.text()
    session = session_of(correcting)
    check_same(snapshot(session), corrected)
    check_shown(correcting, viewer)
    assert session.reviewed == [(0, 0, SIDE, SIDE // 2), (0, SIDE // 2, SIDE, SIDE)]
    while session.can_undo:
        undo(correcting)
    check_same(snapshot(session)._replace(redo=""), segmented)
    while session.can_redo:
        redo(correcting)
    check_same(snapshot(session), corrected)

    # Train while the layer is edited, and use what came of it.
    training = open_widget(viewer, "Train model")
    assert isinstance(training, TrainWidget)
    assert training.form.data.paths == (folder,)
    training.form.epochs.setValue(1)
    training.train_button.click()
    qtbot.waitUntil(lambda: training.progress.maximum() > 0, timeout=WAIT)
    press(correcting, Qt.Key.Key_D)
    click(correcting, largest(correcting))
    assert session.can_undo == "delete"
    with qtbot.waitSignal(training.finished, timeout=WAIT):
        pass
    assert training.status.text().startswith("Training finished")
    training.new_model.name.setText("mine")
    training.new_model.use_button.click()
    mine = load_checkpoint("mine")
    assert mine.card["started from"].startswith(f"{DEFAULT_MODEL} (")
    assert mine.card["data"] == {folder.name: {"training": 1, "validation": 1}}

    # Segment again with it, beside what was corrected.
    correcting.start_button.click()
    segmenting = open_widget(viewer, "Segment nuclei")
    assert isinstance(segmenting, SegmentWidget)
    segmenting.form.model.choose("mine")
    monkeypatch.setattr(target, "ask_about_corrections", lambda *_: Target())  # a new result
    with qtbot.waitSignal(segmenting.finished, timeout=WAIT):
        segmenting.segment_button.click()
    shown = viewer.layers.selection.active
    again = open_result(shown.metadata["result"])
    assert again.path == folder.with_name("tissue-2.nucleus")
    assert again.run["model"]["sha256"] == mine.sha256
    assert again.run["counts"]["nuclei"] > 50
    np.testing.assert_array_equal(shown.data, again.read_labels(0, 0, SIDE, SIDE))
    assert len(open_result(folder).table()) == len(corrected.table) - 1
    ends = ("Training finished", f"{again.run['counts']['nuclei']} nuclei in")
    assert all(message.startswith(ends) for message in told())
