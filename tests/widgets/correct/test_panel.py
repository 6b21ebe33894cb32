"""The panel in a window of 1280 x 720."""

from collections.abc import Callable

import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint

from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.tools import Tool
from tests.widgets.fits import clipped, scrolled_off


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Viewer]) -> Viewer:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1280, 720)
    return viewer


def positions(widget: CorrectWidget) -> list[QPoint]:
    panel = widget.panel
    parts = (panel.types, panel.review, panel.mark_button, panel.zoom_in_button)
    return [part.mapTo(widget, QPoint()) for part in parts]


def test_nothing_moves_while_tools_change(widget: CorrectWidget, qtbot: QtBot) -> None:
    qtbot.wait(100)
    assert clipped(widget) == []
    before = positions(widget)
    for tool in Tool:
        widget.panel.tools.buttons[tool].click()
        qtbot.wait(20)
        assert positions(widget) == before
    widget.panel.review.toggle_button.click()
    qtbot.wait(20)
    assert scrolled_off(widget) == 0
