"""A viewer with the Segment widget, a network that finds known nuclei, and a home of its own."""

import gc
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from napari.layers import Image
from napari.utils.notifications import notification_manager
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QMessageBox

from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from napari_nucleus.widgets.segment import SegmentWidget
from tests.tissue import Decoder, Tissue, tissue

MakeViewer = Callable[..., Viewer]


@pytest.fixture(autouse=True, scope="session")
def imported() -> None:
    """Spare the collections that napari asks for with every window what was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_question_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a question that a test does not answer fail, instead of wait for a person."""

    def wait(box: QMessageBox, *_: object) -> None:
        raise AssertionError(f"Nobody answers: {box.text()} {box.informativeText()}")

    monkeypatch.setattr(QMessageBox, "exec", wait)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is written out of the home of the person who runs the tests."""
    live_in(tmp_path / "home", monkeypatch.setattr)
    return tmp_path / "home"


def live_in(home: Path, set_attribute: Callable[[object, str, object], object]) -> None:
    """Let this process find a user's folders elsewhere."""
    for kind in ("documents", "state", "data", "cache"):
        set_attribute(platformdirs, f"user_{kind}_path", lambda *_, kind=kind: home / kind)


@pytest.fixture
def told() -> Callable[[], list[str]]:
    """Return what the user has been told in notifications since the test began."""
    before = len(notification_manager.records)
    return lambda: [one.message for one in notification_manager.records[before:]]


@pytest.fixture(scope="session")
def made() -> Tissue:
    return tissue(210, 260, seed=3)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkpoint of the network that reads nuclei off the pixels of `Tissue.coded`."""

    def build(types: tuple[str, ...], pretrained: bool, mpp: float) -> NucleusModel:
        return Decoder(types, mpp)

    monkeypatch.setitem(_BUILDERS, "decoder", build)
    file = tmp_path / "decoder.safetensors"
    save_checkpoint(file, Decoder())
    return file


@pytest.fixture
def viewer(make_napari_viewer_proxy: MakeViewer) -> Viewer:
    return make_napari_viewer_proxy()


@pytest.fixture
def widget(viewer: Viewer, qtbot: QtBot, weights: Path) -> SegmentWidget:
    """Return the Segment widget as it is in a window, ready, with `weights` chosen."""
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    qtbot.waitUntil(lambda: widget.form.device.count() > 1, timeout=60_000)
    widget.form.model.choose_file(weights)
    return widget


@pytest.fixture
def image(viewer: Viewer, made: Tissue) -> Image:
    """Return a layer from nowhere, scaled and moved."""
    return viewer.add_image(
        made.coded(), name="made", scale=(0.25, 0.25), units=("um", "um"), translate=(30, -20)
    )
