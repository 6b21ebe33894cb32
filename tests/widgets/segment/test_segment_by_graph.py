"""The Segment widget with a network that types nuclei once all are found."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.inference import predict_image
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from napari_nucleus.widgets.segment import SegmentWidget
from tests.graph_decoder import GraphDecoder
from tests.tissue import TYPES, Tissue


class Held(torch.nn.Module):
    """A layer in which a network stays until it is let go."""

    reached, let_go = Event(), Event()
    passed = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Held.reached.set()
        assert Held.let_go.wait(60)
        Held.passed += 1
        return x


class SlowToType(GraphDecoder):
    """Finds nuclei at once, and types them in many layers."""

    def __init__(self, types: tuple[str, ...] = TYPES, mpp: float = 0.25) -> None:
        super().__init__(types, mpp)
        self.name = "slow_to_type"
        self.layers = torch.nn.Sequential(*(Held() for _ in range(50)))

    def classify(self, *about: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.layers(torch.zeros(1))
        return super().classify(*about)


def choose(
    widget: SegmentWidget, model: type[GraphDecoder], folder: Path, patch: pytest.MonkeyPatch
) -> None:
    network = model()
    patch.setitem(_BUILDERS, network.name, lambda types, pretrained, mpp: model(types, mpp))
    save_checkpoint(folder / "graph.safetensors", network)
    widget.form.model.choose_file(folder / "graph.safetensors")


def test_classes_are_shown(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    made: Tissue,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(widget, GraphDecoder, tmp_path, monkeypatch)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment_button.click()
    nuclei, classes = viewer.layers["nuclei"], viewer.layers["classes"]
    network = GraphDecoder()
    labels, table = network.nuclei(predict_image(made.coded(), network))
    expected = np.array([0, *(1 + TYPES.index(name) for name in table["type"])])[labels]
    assert set(np.unique(expected)) == {0, 1, 2}
    # weights travel in half precision
    assert np.mean(classes.data == expected) > 0.99
    assert len(nuclei.features) == len(table)


def test_cancel_stops_the_typing(
    widget: SegmentWidget,
    viewer: Viewer,
    image: Image,
    qtbot: QtBot,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(widget, SlowToType, tmp_path, monkeypatch)
    widget.segment_button.click()
    qtbot.waitUntil(Held.reached.is_set, timeout=60_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel_button.click()
        Held.let_go.set()
    assert Held.passed == 1
    assert "nuclei" not in viewer.layers
    left = {file.parent.name for file in home.rglob("*") if file.is_file()}
    assert left == {"made.nucleus.unfinished"}
