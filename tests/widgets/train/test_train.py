"""From Train to a model in the list, in a real window."""

from collections.abc import Callable, Generator
from pathlib import Path
from threading import Event
from typing import Any, Literal

import numpy as np
import pytest
import torch
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QMessageBox

from napari_nucleus.edits import annotations
from napari_nucleus.inference import segment
from napari_nucleus.models import create_model, registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.results import open_result
from napari_nucleus.retraining import Retraining, interrupted_run, loop
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.training.learner import Learner
from napari_nucleus.weights.store import read_card
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.shared.layers import image_layer, nuclei_layers, placement_of
from napari_nucleus.widgets.train import TrainWidget
from napari_nucleus.widgets.train import widget as train_widget
from napari_nucleus.widgets.train.job import Training, TrainJob
from tests.edits.folder import open_session
from tests.tissue import TYPES, Decoder, Tissue
from tests.training.tiny import Tiny

Told = Callable[[], list[str]]
WAIT = 120_000


def epochs_of(widget: TrainWidget) -> list[int]:
    """Return over how many epochs the lines of both plots go."""
    axes = widget.plot.figure.axes
    return [max(len(np.asarray(line.get_xdata())) for line in one.lines) for one in axes]


def steps_of(widget: TrainWidget) -> int:
    return widget.progress.value() if widget.progress.maximum() else 0


class Gate:
    """Holds a network, once shut, in a layer until it is opened, and counts the layers since."""

    def __init__(self) -> None:
        self.shut, self.reached, self.open = Event(), Event(), Event()
        self.passed = 0

    def pass_through(self) -> None:
        if self.shut.is_set():
            self.reached.set()
            self.open.wait()
            self.passed += 1


def test_training_makes_a_model_that_segment_offers(
    widget: TrainWidget, viewer: Viewer, qtbot: QtBot, home: Path
) -> None:
    segmenting = SegmentWidget(viewer)
    qtbot.addWidget(segmenting)
    seen: list[list[int]] = []
    pictures: list[int] = []
    widget.train_button.click()
    assert not widget.form.isEnabled()
    assert widget._job is not None
    job = widget._job
    job.yielded.connect(lambda _: seen.append(epochs_of(widget)))
    job.yielded.connect(lambda _: pictures.append(widget.prediction.picture.pixmap().cacheKey()))
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        pass
    assert [1, 2] in seen  # an epoch, beside the line of the score before
    assert epochs_of(widget) == [2, 2]
    assert len({key for key in pictures if key}) >= 3  # before, and after each epoch
    assert widget.status.text().startswith("Training finished. PQ on the validation regions: ")
    assert widget.form.isEnabled()
    assert not widget.progress.isVisibleTo(widget)
    text = widget.prediction.scores.text()
    assert "PQ" in text
    assert "Agreement" in text
    assert widget.new_model.isVisibleTo(widget)
    assert widget.new_model.name.text() == "untrained_retrained"
    widget.new_model.name.setText("mine")
    widget.new_model.use_button.click()
    made = home / "data" / "models" / "mine.safetensors"
    assert read_card(made)["card"]["data"] == {"annotated": {"training": 3, "validation": 1}}
    assert widget.form.model.checkpoint == "mine"
    segmenting.form.model.showPopup()
    segmenting.form.model.hidePopup()
    assert segmenting.form.model.findText("mine") >= 0


def test_form_folds_while_it_trains_and_opens_by_its_button(
    widget: TrainWidget, qtbot: QtBot
) -> None:
    widget.form.epochs.setValue(1)
    assert widget.form.isVisibleTo(widget)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.train_button.click()
        assert not widget.form.isVisibleTo(widget)
        qtbot.waitUntil(lambda: widget.plot.isVisibleTo(widget), timeout=WAIT)
        assert widget.prediction.isVisibleTo(widget)
        assert "PQ" in widget.prediction.scores.text()
    widget.settings_button.click()
    assert widget.form.isVisibleTo(widget)


@pytest.mark.parametrize(
    ("train", "after", "said", "question"),
    [
        ("types", {"pq": 0.5, "f1": 0.6}, "F1 of the classes on the validation regions: 0.4", ""),
        ("types", {"pq": 0.5, "f1": 0.3}, "No improvement", "F1 of the classes: 0.400 → 0.300"),
        ("all", {"pq": 0.25, "f1": 0.4}, "No improvement", "PQ: 0.500 → 0.250"),
        ("all", {"pq": 0.75, "f1": 0.4}, "PQ on the validation regions: 0.500 → 0.750", ""),
    ],
)
def test_verdict_is_on_what_was_trained_and_worse_models_are_asked_about(
    widget: TrainWidget,
    untrained: Path,
    asked: list[str],
    train: Literal["types", "all"],
    after: dict[str, float],
    said: str,
    question: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Retraining(data=(), model=str(untrained), train=train)
    widget._training = TrainJob(job, untrained.parent, False, {})
    made = loop.Retrained(untrained, {"pq": 0.5, "f1": 0.4}, after, 0.9)
    widget._on_end(Training(made, cancelled=False))
    assert said in widget.status.text()
    assert (train == "types") != ("PQ" in widget.status.text())
    assert widget.new_model.warning.isVisibleTo(widget) == bool(question)
    assert question in widget.new_model.warning.text()
    widget.new_model.name.setText("mine")
    widget.new_model.use_button.click()
    assert len(asked) == bool(question)
    assert question in "".join(asked)
    assert widget.form.model.checkpoint == "mine"
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    widget.new_model.name.setText("other")
    widget.new_model.use_button.click()
    assert widget.form.model.checkpoint == ("mine" if question else "other")


def test_name_that_is_taken_is_told(widget: TrainWidget, qtbot: QtBot, told: Told) -> None:
    widget.form.epochs.setValue(1)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.train_button.click()
    widget.new_model.name.setText("histonext_atto_he")
    widget.new_model.use_button.click()
    (message,) = told()
    assert message.startswith("There is a model 'histonext_atto_he' already")


@pytest.mark.slow
def test_pause_rests_and_goes_on(
    widget: TrainWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, gate = Learner.step, Gate()
    gate.shut.set()

    def step_slowly(*arguments: Any) -> Any:
        gate.pass_through()
        return step(*arguments)

    monkeypatch.setattr(Learner, "step", step_slowly)
    widget.train_button.click()
    qtbot.waitUntil(gate.reached.is_set, timeout=WAIT)
    widget.pause_button.click()
    assert widget.pause_button.text() == "Continue"
    gate.open.set()
    qtbot.waitUntil(lambda: steps_of(widget) == 1, timeout=WAIT)  # the one that was under way
    qtbot.wait(100)
    assert (steps_of(widget), gate.passed) == (1, 1)
    assert widget.status.text() == "Paused"
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.pause_button.click()
    assert widget.status.text().startswith("Training finished. PQ on the validation regions: ")
    assert widget.pause_button.text() == "Pause"


@pytest.mark.parametrize("paused", [False, True])
def test_cancel_keeps_the_best_and_resume_goes_on(
    widget: TrainWidget, qtbot: QtBot, paused: bool
) -> None:
    widget.train_button.click()
    qtbot.waitUntil(lambda: steps_of(widget) > 17, timeout=WAIT)
    if paused:
        widget.pause_button.click()
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.cancel_button.click()
    assert widget.status.text().startswith("Cancelled. The best model so far was kept.")
    assert widget.new_model.isVisibleTo(widget)
    assert "Agreement" not in widget.prediction.scores.text()
    assert widget.resume_button.isVisibleTo(widget)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.resume_button.click()
    assert widget.status.text().startswith("Training finished. PQ on the validation regions: ")
    assert epochs_of(widget) == [2, 2]
    assert not widget.resume_button.isVisibleTo(widget)
    assert interrupted_run() is None


def test_run_of_a_window_that_is_gone_can_go_on(
    widget: TrainWidget, viewer: Viewer, qtbot: QtBot
) -> None:
    widget.train_button.click()
    qtbot.waitUntil(lambda: steps_of(widget) > 2, timeout=WAIT)
    assert widget._job is not None
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: interrupted_run() is not None, timeout=5000)
    later = TrainWidget(viewer)
    qtbot.addWidget(later)
    assert later.resume_button.isVisibleTo(later)
    assert "annotated" in later.resume_button.toolTip()


def test_cancel_stops_within_a_step(
    widget: TrainWidget, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    class Layer(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate.pass_through()
            return x

    class Gated(Tiny):
        def __init__(
            self, types: tuple[str, ...], pretrained: bool = False, norm: bool = True
        ) -> None:
            super().__init__(types, pretrained, norm)
            self.layers = torch.nn.Sequential(*(Layer() for _ in range(50)))

        def encode(self, images: torch.Tensor) -> list[torch.Tensor]:
            return super().encode(self.layers(images))

    monkeypatch.setitem(registry._BUILDERS, "gated", Gated)
    monkeypatch.setattr(train_widget, "_GRACE", 0.0)
    save_checkpoint(tmp_path / "gated.safetensors", create_model("gated", TYPES))
    widget.form.model.choose_file(tmp_path / "gated.safetensors")
    widget.form.part.setCurrentText("Whole network")
    widget.train_button.click()
    qtbot.waitUntil(lambda: steps_of(widget) > 0, timeout=WAIT)
    gate.shut.set()
    qtbot.waitUntil(gate.reached.is_set, timeout=WAIT)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.cancel_button.click()
        gate.open.set()
    assert gate.passed == 1
    assert widget.status.text() == "Cancelled before there was a new model."
    assert widget.train_button.isEnabled()


def test_cancel_does_not_wait_for_what_is_only_read(
    widget: TrainWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, gate = loop.read_training_data, Gate()
    gate.shut.set()

    def read_slowly(*arguments: Any) -> Any:
        gate.pass_through()
        return read(*arguments)

    monkeypatch.setattr(loop, "read_training_data", read_slowly)
    widget.train_button.click()
    assert widget._job is not None
    job = widget._job
    qtbot.waitUntil(gate.reached.is_set, timeout=WAIT)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.cancel_button.click()
    assert gate.passed == 0
    assert widget.status.text().startswith("Cancelled")
    with qtbot.waitSignal(job.finished, timeout=WAIT):
        gate.open.set()
    assert widget.train_button.isEnabled()
    assert interrupted_run() is None


def test_what_is_missing_is_said_before_it_starts(
    widget: TrainWidget, qtbot: QtBot, told: Told, home: Path
) -> None:
    widget.form.data.list.selectAll()
    widget.form.data.remove_button.click()
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.train_button.click()
    (message,) = told()
    assert message.startswith("There is no training data")
    assert widget.status.text() == message
    assert not (home / "data" / "runs").exists()
    widget.form.model.setCurrentIndex(-1)
    widget.train_button.click()
    assert told()[1].startswith("No model selected")


def test_a_failure_is_shown_and_the_form_lives_on(
    widget: TrainWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch raises RuntimeError, for which napari's worker would fall silent."""

    def fail(*_: object) -> Generator:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        yield

    monkeypatch.setattr(loop, "retrain_steps", fail)
    with (
        qtbot.captureExceptions() as errors,
        qtbot.waitSignal(widget.finished, timeout=WAIT),
    ):
        widget.train_button.click()
    assert [str(value) for _, value, _ in errors] == ["mat1 and mat2 shapes cannot be multiplied"]
    assert widget.status.text() == "Training failed: mat1 and mat2 shapes cannot be multiplied"
    assert widget.form.isVisibleTo(widget)
    assert widget.train_button.isEnabled()


def test_reviewed_results_that_are_open_are_proposed_and_trained_on(
    widget: TrainWidget, viewer: Viewer, made: Tissue, qtbot: QtBot, tmp_path: Path
) -> None:
    """The image is in no file: it is the layer's."""
    widget.form.data.list.selectAll()
    widget.form.data.remove_button.click()
    slide = slide_from_arrays([made.coded()], 0.25, "made")
    folder = segment(slide, tmp_path / "made.nucleus", Decoder()).path
    image = image_layer(slide)
    image.metadata["result"] = str(folder)
    viewer.add_layer(image)
    for layer in nuclei_layers(open_result(folder), placement_of(image)):
        viewer.add_layer(layer)
    assert widget.form.data.paths == ()
    with open_session(folder) as session:
        session.apply(annotations.mark_reviewed, (0, 0, 260, 105))
        session.apply(annotations.mark_reviewed, (0, 105, 260, 210))
    widget.offer_results()
    assert widget.form.data.paths == (folder,)
    widget.form.epochs.setValue(1)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        widget.train_button.click()
    assert widget.status.text().startswith("Training finished. PQ on the validation regions: ")
    widget.form.data.list.selectAll()
    widget.form.data.remove_button.click()
    widget.offer_results()
    assert widget.form.data.paths == ()  # it was taken off the list


def test_form_says_what_to_train(widget: TrainWidget, data: Path, qtbot: QtBot) -> None:
    form = widget.form
    told = form.retraining()
    assert (told.data, told.types, told.train, told.epochs) == ((data,), TYPES, "decoder", 2)
    rate = told.lr
    form.part.setCurrentText("Classification only")
    form.types.setText(" round, flat,,round ")
    told = form.retraining()
    assert (told.types, told.train) == (("round", "flat"), "types")
    assert told.lr != rate
    form.types_button.click()
    qtbot.waitUntil(lambda: form.types.text() == "dark, pale", timeout=WAIT)
    form.types.clear()
    assert form.retraining().types == ()
    form.model.choose("histonext_atto_he")
    assert form.types.text().startswith("malignant_epithelial, ")
