"""The Segment widget with a network that types nuclei once all are found."""

import time
from pathlib import Path

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


class Nap(torch.nn.Module):
    def forward(self, seconds: float) -> None:
        time.sleep(seconds)


class SlowToType(GraphDecoder):
    """Finds nuclei at once, and takes a minute to type them."""

    def __init__(self, types: tuple[str, ...] = TYPES, mpp: float = 0.25) -> None:
        super().__init__(types, mpp)
        self.name = "slow_to_type"
        self.nap = Nap()

    def classify(self, *about: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for _ in range(600):
            self.nap(0.1)
        return super().classify(*about)


def choose(
    widget: SegmentWidget, model: type[GraphDecoder], folder: Path, patch: pytest.MonkeyPatch
) -> None:
    network = model()
    patch.setitem(_BUILDERS, network.name, lambda types, pretrained, mpp: model(types, mpp))
    save_checkpoint(folder / "graph.safetensors", network)
    widget.model.choose_file(folder / "graph.safetensors")


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
    qtbot.waitUntil(lambda: "so far" in widget.status.text(), timeout=60_000)
    qtbot.wait(300)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel_button.click()
    assert "nuclei" not in viewer.layers
    assert not [file for file in home.rglob("*") if file.is_file() or file.suffix == ".part"]
