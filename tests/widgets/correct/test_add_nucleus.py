"""Nuclei that are missing: outlined by the network, or by SAM."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_nucleus.models import checkpoints
from napari_nucleus.models.sam import model as sam_model
from napari_nucleus.models.sam.model import FrozenSam
from napari_nucleus.prompts import propose
from napari_nucleus.weights import sam as sam_weights
from napari_nucleus.widgets.correct import CorrectWidget
from tests.small_sam import small_sam
from tests.tissue import Decoder
from tests.widgets.correct.hands import (
    Points,
    check_shown,
    click,
    drag,
    largest,
    press,
    session_of,
    undo,
)

Told = Callable[[], list[str]]


@pytest.fixture
def missing(widget: CorrectWidget) -> np.ndarray:
    """Delete the largest nucleus, take the tool, and return its pixels."""
    row = largest(widget)
    session = session_of(widget)
    pixels = session.read_labels(0, 0, *session.shape[::-1]) == row["label"]
    press(widget, Qt.Key.Key_D)
    click(widget, row)
    press(widget, Qt.Key.Key_2)
    press(widget, Qt.Key.Key_A)
    press(widget, Qt.Key.Key_2)
    return pixels


def add(widget: CorrectWidget, qtbot: QtBot, points: Points) -> int:
    """Click or draw, wait until a nucleus has come, and return its label."""
    session = session_of(widget)
    new = session.next_label
    drag(widget, points)
    qtbot.waitUntil(lambda: session.next_label > new or bool(widget.status.text()), timeout=60_000)
    assert not widget.status.text()
    return new


def middle(pixels: np.ndarray) -> tuple[float, float]:
    ys, xs = np.nonzero(pixels)
    return float(xs.mean()), float(ys.mean())


@pytest.mark.parametrize("by", ["click", "box"])
def test_the_network_outlines_it(
    by: str,
    missing: np.ndarray,
    widget: CorrectWidget,
    viewer: Viewer,
    nuclei: Labels,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The network reads all nuclei off the pixels of this tissue."""
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda _: Decoder().eval())
    x, y = middle(missing)
    texts: list[str] = []
    monkeypatch.setattr(widget.panel.sam.text, "setText", texts.append)
    points = [(x, y)] if by == "click" else [(x - 9, y - 9), (x, y), (x + 9, y + 9)]
    new = add(widget, qtbot, points)
    np.testing.assert_array_equal(nuclei.data == new, missing)
    assert session_of(widget).rows([new])["type"].item() == "pale"
    assert texts[0] == "Outlining a nucleus…"
    assert texts[-1].startswith("Outlined by the network")
    check_shown(widget, viewer)
    undo(widget)
    assert not (nuclei.data == new).any()


def test_where_one_is_none_is_added(widget: CorrectWidget, nuclei: Labels) -> None:
    press(widget, Qt.Key.Key_A)
    click(widget, largest(widget))
    assert "A nucleus is already there" in widget.status.text()


def test_where_none_is_seen_it_says_so(
    widget: CorrectWidget, nuclei: Labels, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "load_checkpoint", lambda _: Decoder().eval())
    press(widget, Qt.Key.Key_A)
    free = np.argwhere(nuclei.data == 0)[0]
    drag(widget, [(float(free[1]), float(free[0]))])
    qtbot.waitUntil(lambda: bool(widget.status.text()), timeout=60_000)
    assert "sees no nucleus there" in widget.status.text()


@pytest.fixture
def seen_by_sam(missing: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let SAM see the missing nucleus; return the prompts that it has got."""
    prompts: list[str] = []

    class Prompter:
        def __init__(self, sam: FrozenSam) -> None:
            pass

        def set_image(self, image: np.ndarray) -> None:
            assert image.shape == (*missing.shape, 3)  # all of it is less than a window

        def click(self, x: float, y: float) -> np.ndarray:
            assert missing[round(y), round(x)]
            prompts.append("click")
            return missing

        def box(self, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
            ys, xs = np.nonzero(missing)
            edges = [xs.min() - 2, ys.min() - 2, xs.max() + 3, ys.max() + 3]
            np.testing.assert_array_equal([x0, y0, x1, y1], edges)
            prompts.append("box")
            return missing

    monkeypatch.setattr(propose, "Prompter", Prompter)
    monkeypatch.setattr(sam_model, "load_sam", lambda path: FrozenSam(small_sam(), "vit_t", ""))
    return prompts


def test_sam_from_a_file_outlines_it(
    missing: np.ndarray,
    seen_by_sam: list[str],
    widget: CorrectWidget,
    viewer: Viewer,
    nuclei: Labels,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "mine.pt"
    file.write_bytes(b"weights")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    widget.panel.sam.file_button.click()
    assert widget.panel.sam.text.text() == "Outlined by SAM (mine.pt)."
    new = add(widget, qtbot, [middle(missing)])
    np.testing.assert_array_equal(nuclei.data == new, missing)
    undo(widget)
    ys, xs = np.nonzero(missing)
    corners = [(xs.min() - 2, ys.min() - 2), (xs.mean(), ys.mean()), (xs.max() + 2, ys.max() + 2)]
    new = add(widget, qtbot, [(float(x), float(y)) for x, y in corners])
    np.testing.assert_array_equal(nuclei.data == new, missing)
    assert seen_by_sam == ["click", "box"]
    check_shown(widget, viewer)


class _Answer:
    """What a server sends."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.headers = {"content-length": str(len(content))}

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, chunk_size: int) -> list[bytes]:
        return [self.content]

    def close(self) -> None:
        pass


def test_sam_is_fetched_by_one_consent(
    widget: CorrectWidget, home: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"these are the weights"
    weights = sam_weights.SamWeights(
        "MobileSAM",
        "https://example.org/mobile.pt",
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(sam_weights.SAM_WEIGHTS, "vit_t", weights)
    asked: list[str] = []

    def get(url: str, **_: object) -> _Answer:
        asked.append(url)
        return _Answer(content)

    monkeypatch.setattr(requests, "get", get)
    answer = QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answer)
    box = widget.panel.sam
    press(widget, Qt.Key.Key_A)
    assert box.isVisibleTo(widget)
    box.fetch_button.click()
    assert not asked
    answer = QMessageBox.StandardButton.Yes
    with qtbot.waitSignal(box.changed, timeout=20_000):
        box.fetch_button.click()
    assert asked == [weights.url]
    assert box.file is not None
    assert box.file.read_bytes() == content
    assert home in box.file.parents
    assert not box.fetch_button.isVisibleTo(widget)


def test_a_download_that_fails_can_be_tried_again(
    widget: CorrectWidget, qtbot: QtBot, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, **_: object) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(requests, "get", fail)
    box = widget.panel.sam
    box.fetch()
    assert not box.fetch_button.isEnabled()
    qtbot.waitUntil(box.fetch_button.isEnabled, timeout=20_000)
    assert "check the network" in told()[-1]
    assert box.file is None
