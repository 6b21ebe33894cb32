import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels
from napari.viewer import Viewer
from PIL import Image as Picture
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QTableView

from napari_nucleus.metrics.overlap import Overlap
from napari_nucleus.models import NucleusModel, checkpoints, create_model
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from napari_nucleus.nucleus_types import type_colors
from napari_nucleus.results import open_result
from napari_nucleus.slides import open_slide
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import image_layer
from tests.tissue import TYPES, Decoder, Tissue

Told = Callable[[], list[str]]


def press_segment(widget: SegmentWidget, qtbot: QtBot) -> None:
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment_button.click()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nuclei_and_classes_lie_on_the_image(
    widget: SegmentWidget, viewer: Viewer, image: Image, made: Tissue, qtbot: QtBot
) -> None:
    press_segment(widget, qtbot)
    nuclei, classes = viewer.layers["nuclei"], viewer.layers["classes"]
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes"]
    for layer in (nuclei, classes):
        np.testing.assert_array_equal(layer.extent.world, image.extent.world)
        assert layer.units == image.units
        assert layer.visible
    overlap = Overlap.of(made.labels, nuclei.data)
    assert len(overlap.true_size) == len(overlap.pred_size)
    np.testing.assert_array_equal(nuclei.data > 0, made.labels > 0)
    # each pixel has the number of its nucleus's type, and its colour
    numbers = np.array([0, *(1 + TYPES.index(name) for name in made.types)])
    np.testing.assert_array_equal(classes.data, numbers[made.labels])
    for number, color in enumerate(type_colors(TYPES).values(), 1):
        rgb = (classes.get_color(number)[:3] * 255).round().astype(int)
        assert "#{:02x}{:02x}{:02x}".format(*rgb) == color


def test_features_tell_of_the_label_under_the_mouse(
    widget: SegmentWidget, viewer: Viewer, image: Image, qtbot: QtBot
) -> None:
    press_segment(widget, qtbot)
    nuclei = viewer.layers["nuclei"]
    assert nuclei == viewer.layers.selection.active
    row = nuclei.features.iloc[6]
    assert row["label"] == 7
    ys, xs = np.nonzero(nuclei.data == 7)
    assert (row["centroid_x"], row["centroid_y"]) == pytest.approx((xs.mean(), ys.mean()))
    position = nuclei.data_to_world((ys[0], xs[0]))
    told = nuclei.get_status(position, world=True)["value"]
    assert told.startswith(f"7; label: 7, type: {row['type']}, ")


def test_legend_and_csv_count_what_is_there(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    made: Tissue,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    press_segment(widget, qtbot)
    count = len(made.types)
    assert widget.status.text().startswith(f"{count} nuclei in ")
    texts = [label.text() for label in widget.result.legend.findChildren(type(widget.status))]
    assert {"dark", "pale", *(str((made.types == name).sum()) for name in TYPES)} <= set(texts)
    widget.save_csv(tmp_path / "nuclei.csv")
    rows = list(csv.DictReader((tmp_path / "nuclei.csv").open(encoding="utf-8")))
    assert [int(row["label"]) for row in rows] == list(range(1, count + 1))
    assert sorted(row["type"] for row in rows) == sorted(made.types)


def test_result_of_a_file_lies_beside_it(
    widget: SegmentWidget, viewer: Viewer, made: Tissue, qtbot: QtBot, tmp_path: Path
) -> None:
    file = tmp_path / "slides" / "made.png"
    file.parent.mkdir()
    Picture.fromarray(made.coded()).save(file, dpi=(25400 / 0.25,) * 2)
    viewer.add_layer(image_layer(open_slide(file)))
    press_segment(widget, qtbot)
    run = open_result(file.parent / "made.nucleus").run
    assert run["source"]["path"] == str(file.resolve())
    assert "made.nucleus" in widget.result.folder.text()


def test_result_of_a_layer_without_a_file_lies_in_documents(
    widget: SegmentWidget, image: Image, qtbot: QtBot, home: Path
) -> None:
    press_segment(widget, qtbot)
    assert open_result(home / "documents" / "napari-nucleus" / "made.nucleus")


def test_the_same_segmentation_renews_the_layers(
    widget: SegmentWidget, viewer: Viewer, image: Image, qtbot: QtBot, home: Path
) -> None:
    press_segment(widget, qtbot)
    nuclei = viewer.layers["nuclei"]
    nuclei.opacity = 0.3
    press_segment(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes"]
    assert viewer.layers["nuclei"] == nuclei
    assert nuclei.opacity == 0.3
    assert len(list((home / "documents" / "napari-nucleus").iterdir())) == 1


def test_two_images_have_layers_of_their_own(
    widget: SegmentWidget, viewer: Viewer, image: Image, qtbot: QtBot
) -> None:
    press_segment(widget, qtbot)
    first = viewer.layers["nuclei"]
    before = first.data.copy()
    other = viewer.add_image(image.data[:150].copy(), scale=image.scale, units=image.units)
    assert widget.form.layer.layer == other
    assert not widget.result.isVisibleTo(widget)
    press_segment(widget, qtbot)
    assert [type(layer) for layer in viewer.layers] == [Image, Labels, Labels] * 2
    np.testing.assert_array_equal(first.data, before)
    widget.form.layer.choose(image)
    assert widget.result.isVisibleTo(widget)


@pytest.mark.parametrize(
    ("prepare", "line"),
    [
        pytest.param(lambda w, v: v.layers.clear(), "open a slide", id="no image"),
        pytest.param(lambda w, v: w.form.model.setCurrentIndex(-1), "choose one", id="no model"),
        pytest.param(
            lambda w, v: setattr(w.form.mpp, "mpp", None), "set it, about 0.25", id="no scale"
        ),
        pytest.param(lambda w, v: w.form.where.setCurrentIndex(2), "shapes layer", id="no shape"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(
    prepare: Callable, line: str, widget: SegmentWidget, viewer: Viewer, image: Image, told: Told
) -> None:
    prepare(widget, viewer)
    widget.segment_button.click()
    (message,) = told()
    assert line in message
    assert "\n" not in message
    assert widget.status.text() == message
    assert widget.segment_button.isEnabled()
    assert not widget.cancel_button.isEnabled()


def test_scale_is_asked_for_where_the_layer_has_none(
    widget: SegmentWidget, viewer: Viewer, made: Tissue
) -> None:
    viewer.add_image(made.coded())
    assert widget.form.mpp.mpp is None


def test_no_nuclei_are_a_result(
    widget: SegmentWidget, viewer: Viewer, image: Image, qtbot: QtBot, told: Told
) -> None:
    image.data = np.full_like(image.data, (255, 128, 128))
    press_segment(widget, qtbot)
    assert not told()
    assert widget.status.text().startswith("No nuclei were found: check the µm/px")
    assert not viewer.layers["nuclei"].data.any()
    assert widget.result.isVisibleTo(widget)
    texts = [label.text() for label in widget.result.legend.findChildren(type(widget.status))]
    assert {text for text in texts if text.isdigit()} == {"0"}


@pytest.mark.parametrize("again", [False, True])
def test_a_failure_leaves_everything_as_it_was(
    again: bool,
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch raises RuntimeError, for which napari's worker would fall silent."""
    if again:
        press_segment(widget, qtbot)
    names, files = [layer.name for layer in viewer.layers], tree(home)

    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Decoder, "forward", fail)
    with qtbot.captureExceptions() as errors:
        press_segment(widget, qtbot)
    assert [str(value) for _, value, _ in errors] == ["mat1 and mat2 shapes cannot be multiplied"]
    assert [layer.name for layer in viewer.layers] == names
    assert tree(home) == files
    assert widget.segment_button.isEnabled()
    reason = "mat1 and mat2 shapes cannot be multiplied"
    assert widget.status.text() == f"Segmentation failed: {reason}"


def test_weights_that_cannot_be_read_are_one_line(
    widget: SegmentWidget, image: Image, weights: Path, qtbot: QtBot, told: Told
) -> None:
    weights.write_bytes(b"not what it was")
    press_segment(widget, qtbot)
    (message,) = told()
    assert weights.name in message


class Gate:
    """Holds a network in a layer until it is opened, and counts the layers that are through."""

    def __init__(self) -> None:
        self.reached, self.open = Event(), Event()
        self.passed = 0

    def pass_through(self) -> None:
        self.reached.set()
        self.open.wait()
        self.passed += 1


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Stop a network of many layers, `gated.safetensors`, in its first one."""
    gate = Gate()

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate.pass_through()
            return x

    class Gated(Decoder):
        def __init__(self, types: tuple[str, ...] = TYPES, mpp: float = 0.25) -> None:
            super().__init__(types, mpp)
            self.name = "gated"
            self.layers = torch.nn.Sequential(*(Layer() for _ in range(50)))

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return super().forward(self.layers(images))

    monkeypatch.setitem(_BUILDERS, "gated", lambda types, pretrained, mpp: Gated(types, mpp))
    save_checkpoint(tmp_path / "gated.safetensors", Gated())
    yield gate
    gate.open.set()


def test_cancel_stops_within_a_tile(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    home: Path,
    tmp_path: Path,
    gate: Gate,
) -> None:
    press_segment(widget, qtbot)
    data, files = viewer.layers["nuclei"].data.copy(), tree(home)
    widget.form.model.choose_file(tmp_path / "gated.safetensors")
    widget.segment_button.click()
    qtbot.waitUntil(gate.reached.is_set, timeout=60_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel_button.click()
        gate.open.set()
    assert gate.passed == 1
    np.testing.assert_array_equal(viewer.layers["nuclei"].data, data)
    assert tree(home) == files
    assert widget.status.text() == "Cancelled. Nothing was changed."
    assert widget.segment_button.isEnabled()


def test_cancel_does_not_wait_for_what_is_only_read(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as the weights of a large network, or a file on a slow disk."""
    gate = Gate()

    def load_slowly(path: str) -> NucleusModel:
        gate.pass_through()
        return load_checkpoint(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "load_checkpoint", load_slowly)
        widget.segment_button.click()
        assert widget._job is not None
        first = widget._job
        qtbot.waitUntil(gate.reached.is_set, timeout=60_000)
        with qtbot.waitSignal(widget.finished, timeout=60_000):
            widget.cancel_button.click()
    assert gate.passed == 0
    assert widget.status.text().startswith("Cancelled")
    press_segment(widget, qtbot)
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes"]
    with qtbot.waitSignal(first.finished, timeout=60_000):
        gate.open.set()
    assert widget.segment_button.isEnabled()
    assert [path.name for path in (home / "documents").rglob("*.nucleus*")] == ["made.nucleus"]


def test_closing_the_widget_cancels(
    viewer: Viewer, image: Image, qtbot: QtBot, home: Path, tmp_path: Path, gate: Gate
) -> None:
    widget = SegmentWidget(viewer)
    dock = viewer.window.add_dock_widget(widget)
    widget.form.model.choose_file(tmp_path / "gated.safetensors")
    widget.segment_button.click()
    qtbot.waitUntil(gate.reached.is_set, timeout=60_000)
    parts = home / "documents" / "napari-nucleus"
    assert list(parts.iterdir())
    dock.destroyOnClose()
    gate.open.set()
    qtbot.waitUntil(lambda: not list(parts.iterdir()), timeout=60_000)
    assert gate.passed == 1


class Bell(QObject):
    """Is rung in one thread, and answered by the event loop of the window."""

    rung = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.answered = Event()
        self.rung.connect(self.answer, Qt.ConnectionType.QueuedConnection)

    def answer(self) -> None:
        self.answered.set()


@pytest.mark.slow
def test_window_lives_while_it_segments(
    widget: SegmentWidget,
    viewer: Viewer,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a real network: the event loop goes round before a tile is over."""
    torch.manual_seed(0)
    model = create_model("histonext_atto", TYPES, pretrained=False)
    model.mpp = 0.5
    model.instances = {"np_threshold": 0.3}
    save_checkpoint(tmp_path / "random.safetensors", model)
    forward, bell, answers = NucleusModel.forward, Bell(), list[bool]()

    def forward_and_ring(*arguments: Any) -> dict[str, torch.Tensor]:
        bell.answered.clear()
        bell.rung.emit()
        maps = forward(*arguments)
        answers.append(bell.answered.wait(60))
        return maps

    monkeypatch.setattr(NucleusModel, "forward", forward_and_ring)
    pixels = np.random.default_rng(0).integers(0, 255, (300, 1500, 3), np.uint8)
    viewer.add_image(pixels, scale=(0.25, 0.25), units=("um", "um"))
    widget.form.model.choose_file(tmp_path / "random.safetensors")
    press_segment(widget, qtbot)
    assert answers == [True, True]


def test_table_of_the_nuclei_opens(
    widget: SegmentWidget, viewer: Viewer, image: Image, made: Tissue, qtbot: QtBot
) -> None:
    press_segment(widget, qtbot)
    viewer.layers.selection.active = image
    widget.result.table_button.click()
    (table,) = viewer.window.dock_widgets["Table of nuclei"].findChildren(QTableView)
    assert table.model().rowCount() == len(made.types)


def test_the_plane_of_a_stack_that_is_in_view(
    widget: SegmentWidget, viewer: Viewer, made: Tissue, qtbot: QtBot, told: Told
) -> None:
    planes = np.stack([np.full_like(made.coded(), 255), made.coded()])
    place = {"scale": (3, 0.25, 0.25), "translate": (0, 20, -9)}
    stack = viewer.add_image(planes, rgb=True, name="stack", **place)
    viewer.dims.set_point(0, 3)
    widget.form.mpp.mpp = 0.25
    widget.form.where.setCurrentText("Visible area")
    press_segment(widget, qtbot)
    assert told()[0] == "Segmenting stack: the plane in view."
    nuclei = viewer.layers["nuclei"]
    np.testing.assert_array_equal(nuclei.data > 0, made.labels > 0)
    np.testing.assert_allclose(nuclei.extent.world, stack.extent.world[:, 1:])
    assert nuclei.units == stack.units[1:]
    viewer.dims.set_point(0, 0)
    run = open_result(nuclei.metadata["result"]).run
    assert layer_slide(stack, 0.25).digest() == run["source"]["sha256"]  # for Correct and Train
    assert run["source"]["path"] is None


def test_a_cropped_layer_leaves_the_result_of_its_file(
    widget: SegmentWidget, viewer: Viewer, made: Tissue, tmp_path: Path, qtbot: QtBot
) -> None:
    Picture.fromarray(made.coded()).save(tmp_path / "tissue.png")
    (layer,) = viewer.open(tmp_path / "tissue.png", plugin="napari")
    widget.form.mpp.mpp = 0.25
    press_segment(widget, qtbot)
    before = tree(tmp_path / "tissue.nucleus")
    layer.data = layer.data[20:150, 30:200]
    press_segment(widget, qtbot)
    assert tree(tmp_path / "tissue.nucleus") == before
    result = open_result(layer.metadata["result"])
    assert result.path != tmp_path / "tissue.nucleus"
    assert result.shape == (130, 170)
    assert result.run["source"]["path"] is None
