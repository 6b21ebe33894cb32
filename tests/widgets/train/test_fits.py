"""Train model in a window of 1280 x 720."""

from collections.abc import Callable

import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.widgets.train import TrainWidget
from tests.widgets.fits import clipped, scrolled_off

WAIT = 120_000


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Viewer]) -> Viewer:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    return viewer


def test_picture_curves_and_scores_are_in_view(widget: TrainWidget, qtbot: QtBot) -> None:
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.plot.isVisible(), timeout=WAIT)
    qtbot.wait(50)
    assert widget.prediction.isVisible()
    assert (clipped(widget), scrolled_off(widget)) == ([], 0)
    with qtbot.waitSignal(widget.finished, timeout=WAIT):
        pass
    qtbot.wait(50)
    assert (clipped(widget), scrolled_off(widget)) == ([], 0)
    widget.settings_button.click()
    qtbot.wait(50)
    assert clipped(widget) == []
