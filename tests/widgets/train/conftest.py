"""A viewer with the Train widget, a network that is trained in no time, and data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QMessageBox

from napari_nucleus.models import create_model, registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.retraining import comparison as judgement
from napari_nucleus.widgets.train import TrainWidget
from tests.edits.folder import picture
from tests.tissue import TYPES, tissue, write_dataset
from tests.training.tiny import Tiny


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = {name: tissue(128, 128, seed, 3e-3) for seed, name in enumerate("abcd")}
    return write_dataset(tmp_path / "annotated", images)


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkpoint of a network that knows nothing; old tissue is a small picture."""
    monkeypatch.setitem(registry._BUILDERS, "tiny", Tiny)
    monkeypatch.setattr(judgement, "colon", lambda: picture(64, 64, 0.5))
    torch.manual_seed(3)
    model = create_model("tiny", TYPES)
    model.mpp = 0.5
    save_checkpoint(tmp_path / "untrained.safetensors", model)
    return tmp_path / "untrained.safetensors"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer every question with yes; return the questions."""
    questions: list[str] = []

    def answer(parent: object, title: str, question: str) -> QMessageBox.StandardButton:
        questions.append(question)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    return questions


@pytest.fixture
def widget(
    viewer: Viewer, qtbot: QtBot, untrained: Path, data: Path, asked: list[str]
) -> Iterator[TrainWidget]:
    """Return the widget as it is in a window, ready, with a network, data and two epochs."""
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget)
    qtbot.waitUntil(lambda: widget.form.device.count() > 1, timeout=60_000)
    widget.form.device.setCurrentText("CPU")
    widget.form.model.choose_file(untrained)
    widget.form.data.add(data)
    widget.form.epochs.setValue(2)
    yield widget
    widget.cancel()
