"""Several runs of one image: side by side, added, replaced, or again under corrections."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Shapes
from napari.utils import progress
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QWidget

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide, slide_from_arrays
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.segment import SegmentWidget, target
from napari_nucleus.widgets.segment.target import Target, Way
from napari_nucleus.widgets.shared import job_notice
from tests.tissue import Decoder, Tissue
from tests.widgets.correct.hands import start
from tests.widgets.segment.test_segment import press_segment, tree

Told = Callable[[], list[str]]


@pytest.fixture
def shapes(viewer: Viewer, image: Image) -> Shapes:
    """Return two boxes, (10, 10) to (110, 100) and (130, 20) to (250, 190)."""
    boxes = [np.array([[10, 10], [10, 110], [100, 110], [100, 10]])]
    boxes.append(np.array([[20, 130], [20, 250], [190, 250], [190, 130]]))
    return viewer.add_shapes(
        boxes, name="Shapes", scale=image.scale, translate=image.translate, units=image.units
    )


def select(widget: SegmentWidget, shapes: Shapes, *chosen: int) -> None:
    shapes.selected_data = set(chosen)
    widget.form.where.setCurrentText("Inside drawn shapes")


def folder_of(viewer: Viewer, name: str = "nuclei") -> Path:
    return Path(viewer.layers[name].metadata["result"])


def slide_of(image: Image) -> Slide:
    return slide_from_arrays([image.data], 0.25, image.name)


def answer(
    monkeypatch: pytest.MonkeyPatch, choose: Callable[[Path], Target | None]
) -> list[tuple[Path, bool]]:
    """Answer the question about corrections; return what is asked about."""
    asked: list[tuple[Path, bool]] = []

    def ask(parent: QWidget, folder: Path, open_: bool) -> Target | None:
        asked.append((folder, open_))
        return choose(folder)

    monkeypatch.setattr(target, "ask_about_corrections", ask)
    return asked


def keep(folder: Path) -> Target:
    return Target(Way.AGAIN, folder)


def test_a_second_region_stands_beside_the_first(
    widget: SegmentWidget, viewer: Viewer, image: Image, shapes: Shapes, qtbot: QtBot
) -> None:
    select(widget, shapes, 0)
    press_segment(widget, qtbot)
    first = viewer.layers["nuclei"].data.copy()
    files = tree(folder_of(viewer))
    assert not first[116:].any()
    assert not first[:, 126:].any()
    select(widget, shapes, 1)
    press_segment(widget, qtbot)
    layers = viewer.layers
    names = [layer.name for layer in layers]
    assert names[:3] == ["made", "nuclei", "classes"]
    for name, what in zip(names[3:5], ("nuclei", "classes"), strict=True):
        assert name.startswith(f"{what} · region 2 · decoder · ")
    assert tree(folder_of(viewer)) == files
    np.testing.assert_array_equal(layers["nuclei"].data, first)
    second = layers[names[3]]
    assert not second.data[:, :114].any()
    assert second.data.any()
    assert folder_of(viewer, names[3]).name == "made-2.nucleus"
    # the summary is that of the result that is selected
    assert "made-2.nucleus" in widget.result.folder.text()
    layers.selection.active = layers["classes"]
    assert "made.nucleus" in widget.result.folder.text()
    assert [widget.form.target.itemText(n) for n in range(widget.form.target.count())] == [
        "New result", "Add to made", "Replace made", "Add to made-2", "Replace made-2"
    ]  # fmt: skip


def test_several_shapes_are_one_result(
    widget: SegmentWidget, viewer: Viewer, image: Image, shapes: Shapes, qtbot: QtBot
) -> None:
    shapes.features = pd.DataFrame({"name": ["rim", ""]})
    select(widget, shapes)
    press_segment(widget, qtbot)
    table = open_result(folder_of(viewer)).table()
    right = table["centroid_x"] > 120
    assert set(table.loc[right, "region"]) == {"region 2"}
    assert set(table.loc[~right, "region"]) == {"rim"}
    assert len([layer for layer in viewer.layers if isinstance(layer, Labels)]) == 2


def test_add_to_a_result(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    shapes: Shapes,
    made: Tissue,
    qtbot: QtBot,
) -> None:
    select(widget, shapes, 0)
    press_segment(widget, qtbot)
    nuclei, before = viewer.layers["nuclei"], viewer.layers["nuclei"].data.copy()
    widget.form.where.setCurrentText("Whole image")
    widget.form.target.setCurrentText("Add to made")
    press_segment(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes", "Shapes"]
    after = nuclei.data
    np.testing.assert_array_equal(after[before > 0], before[before > 0])
    np.testing.assert_array_equal(after > 0, made.labels > 0)
    assert f"{len(made.types) - before.max()} nuclei were added" in widget.status.text()
    with EditSession(folder_of(viewer), slide_of(image)) as session:
        assert session.can_undo == "add nuclei"
        session.undo()
        assert session.counts()["nuclei"] == before.max()


def test_replace_a_result(
    widget: SegmentWidget, viewer: Viewer, image: Image, shapes: Shapes, qtbot: QtBot, home: Path
) -> None:
    press_segment(widget, qtbot)
    widget.form.target.setCurrentText("Replace made")
    select(widget, shapes, 1)
    press_segment(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes", "Shapes"]
    assert not viewer.layers["nuclei"].data[:, :114].any()
    results = home / "documents" / "napari-nucleus"
    assert [path.name for path in results.glob("*.nucleus")] == ["made.nucleus"]


@pytest.fixture
def corrected(
    widget: SegmentWidget, viewer: Viewer, image: Image, qtbot: QtBot, tmp_path: Path
) -> SegmentWidget:
    """Return the widget with a result in which 1 has another class and 2 is deleted.

    The model chosen next has other types.
    """
    press_segment(widget, qtbot)
    with EditSession(folder_of(viewer), slide_of(image)) as session:
        kind = session.rows([1])["type"].iloc[0]
        other = next(name for name in session.types if name != kind)
        session.apply(operations.reclassify, [1], other)
        session.apply(operations.delete, [2])
    save_checkpoint(tmp_path / "other.safetensors", Decoder(("round", "long")))
    widget.form.model.choose_file(tmp_path / "other.safetensors")
    return widget


@pytest.mark.parametrize("choice", ["New result", "Replace made"])
def test_cancelled_question_changes_nothing(
    choice: str,
    corrected: SegmentWidget,
    viewer: Viewer,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = tree(home)
    asked = answer(monkeypatch, lambda folder: None)
    corrected.form.target.setCurrentText(choice)
    corrected.segment_button.click()
    assert asked == [(folder_of(viewer), False)]
    assert corrected.segment_button.isEnabled()
    assert tree(home) == files


def test_new_result_beside_a_corrected_one(
    corrected: SegmentWidget, viewer: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tree(folder_of(viewer))
    answer(monkeypatch, lambda folder: Target())
    corrected.form.target.setCurrentText("Replace made")
    press_segment(corrected, qtbot)
    assert tree(folder_of(viewer)) == files
    assert "made-2.nucleus" in corrected.result.folder.text()


def test_before_and_after(
    corrected: SegmentWidget,
    viewer: Viewer,
    image: Image,
    made: Tissue,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer(monkeypatch, keep)
    folder = folder_of(viewer)
    before = open_result(folder)
    labels, table = before.read_labels(0, 0, *before.shape[::-1]), before.table()
    press_segment(corrected, qtbot)
    nuclei, compare = viewer.layers["nuclei"], corrected.before_after
    after = nuclei.data.copy()
    np.testing.assert_array_equal(after == 1, labels == 1)
    np.testing.assert_array_equal(after > 0, labels > 0)  # 2 stays deleted
    assert set(open_result(folder).table()["type"]) <= {*table["type"][:1], "round", "long"}
    assert "corrections were kept" in corrected.status.text()
    assert compare.isVisibleTo(corrected)
    with qtbot.waitSignal(compare.switched, timeout=20_000):
        compare.before.click()
    np.testing.assert_array_equal(nuclei.data, labels)
    pd.testing.assert_frame_equal(open_result(folder).table(), table)
    with qtbot.waitSignal(compare.switched, timeout=20_000):
        compare.after.click()
    np.testing.assert_array_equal(nuclei.data, after)
    compare.keep_button.click()
    assert not compare.isVisibleTo(corrected)
    np.testing.assert_array_equal(open_result(folder).read_labels(0, 0, *labels.shape[::-1]), after)


@pytest.mark.parametrize("way", [Way.AGAIN, Way.NEW])
def test_what_was_painted_is_not_lost(
    way: Way,
    widget: SegmentWidget,
    viewer: Viewer,
    qtbot: QtBot,
    image: Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With napari's own brush, and without Correct nuclei."""
    press_segment(widget, qtbot)
    folder, nuclei = folder_of(viewer), viewer.layers["nuclei"]
    y, x = np.argwhere(nuclei.data == 0)[0]
    nuclei.data_setitem((y, x), 7)
    painted = nuclei.data == 7
    asked = answer(monkeypatch, lambda folder: Target(way, folder if way is Way.AGAIN else None))
    press_segment(widget, qtbot)
    assert asked == [(folder, False)]
    stored = open_result(folder)
    np.testing.assert_array_equal(stored.read_labels(0, 0, *stored.shape[::-1]) == 7, painted)
    np.testing.assert_array_equal(nuclei.data == 7, painted)
    press_segment(widget, qtbot)
    assert len(asked) == 2


def test_cancelled_again_leaves_everything(
    corrected: SegmentWidget, viewer: Viewer, home: Path, qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answer(monkeypatch, keep)
    files, data = tree(home), viewer.layers["nuclei"].data.copy()
    corrected.segment_button.click()
    with qtbot.waitSignal(corrected.finished, timeout=20_000):
        corrected.cancel_button.click()
    assert corrected.status.text() == "Cancelled. Nothing was changed."
    assert tree(home) == files
    np.testing.assert_array_equal(viewer.layers["nuclei"].data, data)
    assert not corrected.before_after.isVisibleTo(corrected)


def test_again_while_correcting(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    press_segment(widget, qtbot)
    correct = CorrectWidget(viewer)
    viewer.window.add_dock_widget(correct)
    correct.reset_choices()
    start(correct, qtbot)
    assert correct.workspace is not None
    controller = correct.workspace.controller
    session = controller.session
    controller.apply(operations.delete, [2])
    controller.apply(operations.accept, [3])
    save_checkpoint(tmp_path / "other.safetensors", Decoder(("round", "long")))
    widget.form.model.choose_file(tmp_path / "other.safetensors")
    asked = answer(monkeypatch, keep)
    nuclei, before = viewer.layers["nuclei"], viewer.layers["nuclei"].data.copy()
    press_segment(widget, qtbot)
    assert asked == [(folder_of(viewer), True)]
    after = session.read_labels(0, 0, *before.shape[::-1])
    np.testing.assert_array_equal(nuclei.data, after)
    np.testing.assert_array_equal(after == 3, before == 3)
    np.testing.assert_array_equal(after > 0, before > 0)
    assert session.can_undo == "segment again"
    assert not session.read_only
    compare = widget.before_after
    compare.before.click()
    np.testing.assert_array_equal(nuclei.data, before)
    compare.after.click()
    np.testing.assert_array_equal(nuclei.data, after)
    controller.apply(operations.delete, [3])
    compare.before.click()  # no longer the last edit
    assert not compare.isVisibleTo(widget)
    assert "was corrected since" in widget.status.text()
    assert session.counts()["nuclei"] == len(np.unique(after)) - 2
    with qtbot.waitSignal(correct.finished, timeout=20_000):
        correct.finish()


def test_napari_shows_the_job_and_tells_of_its_end(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    progress._all_instances.events.changed.connect(
        lambda event: shown.extend(one.desc for one in event.added)
    )
    press_segment(widget, qtbot)
    assert not told()
    monkeypatch.setattr(job_notice, "_LONG", 0)
    press_segment(widget, qtbot)
    assert [line.rstrip(": ") for line in shown] == ["Segmenting made"] * 2
    assert not progress._all_instances
    assert told() == [widget.status.text()]


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(job_notice, "monotonic", lambda: now)
    notice = job_notice.JobNotice("Segmenting")
    try:
        assert notice.update(0, 40) == ""
        now += 30
        assert notice.update(10, 40) == "about 1 min 30 s left"
        assert notice.update(40, 40) == ""
    finally:
        notice.close()
    assert job_notice.duration(3 * 3600 + 125) == "3 h 2 min"
