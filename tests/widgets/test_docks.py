"""All dock widgets side by side in a window of 1280 x 720."""

from collections.abc import Callable

import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QScrollBar,
    QTextBrowser,
    QWidget,
)

from napari_nucleus.widgets.shared.dock import Dock
from tests.widgets.fits import clipped

MakeViewer = Callable[..., Viewer]
TITLES = ("Open slide", "Segment nuclei", "Correct nuclei", "Train model")
CONTROLS = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)


@pytest.fixture
def window(make_napari_viewer: MakeViewer, qtbot: QtBot) -> Viewer:
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1280, 720)
    return viewer


@pytest.fixture
def docks(window: Viewer, qtbot: QtBot) -> list[Dock]:
    return [open_dock(window, title, qtbot) for title in TITLES]


def open_dock(viewer: Viewer, title: str, qtbot: QtBot) -> Dock:
    _, widget = viewer.window.add_plugin_dock_widget("napari-nucleus", title)
    assert isinstance(widget, Dock)
    qtbot.waitUntil(lambda: widget._placed and not widget._placement.isActive())
    return widget


def wait_for(dock: Dock, qtbot: QtBot) -> None:
    """Wait until a dock is in front."""
    qtbot.waitUntil(lambda: not dock.visibleRegion().isEmpty())


def test_docks_share_tabs_and_fit(window: Viewer, docks: list[Dock], qtbot: QtBot) -> None:
    main = window.window._qt_window
    frames = [one for one in main.findChildren(QDockWidget) if one.findChildren(Dock)]
    assert len(frames) == 4
    assert all(set(main.tabifiedDockWidgets(one)) == set(frames) - {one} for one in frames)
    in_front = [not one.visibleRegion().isEmpty() for one in docks]
    assert in_front == [False, False, False, True]  # the one that was opened last
    assert (main.width(), main.height()) == (1280, 720)
    assert all(one.minimumSizeHint().height() < 400 for one in docks)
    for frame, dock in ((one, one.findChildren(Dock)[0]) for one in frames):
        frame.raise_()
        wait_for(dock, qtbot)
        assert clipped(dock) == []


def test_a_dock_stays_where_it_is_moved(window: Viewer, docks: list[Dock], qtbot: QtBot) -> None:
    frames = window.window._qt_window.findChildren(QDockWidget)
    (frame,) = [one for one in frames if one.findChildren(Dock) == [docks[0]]]
    frame.setFloating(True)
    wait_for(docks[0], qtbot)
    docks[0].hide()
    docks[0].show()
    qtbot.wait(20)
    assert frame.isFloating()


def test_every_control_has_a_tooltip(docks: list[Dock]) -> None:
    bare = [
        (type(dock).__name__, type(part).__name__, getattr(part, "text", str)())
        for dock in docks
        for part in dock.findChildren(QWidget)
        if isinstance(part, CONTROLS) and not isinstance(part, QScrollBar)
        if not part.objectName().startswith(("qt_", "Scroll")) and not part.toolTip()
    ]
    assert bare == []


@pytest.mark.parametrize("title", TITLES)
def test_every_dock_has_its_help(window: Viewer, qtbot: QtBot, title: str) -> None:
    dock = open_dock(window, title, qtbot)
    dock.help_link.linkActivated.emit("help")
    (text,) = dock.findChildren(QTextBrowser)
    assert text.toPlainText().startswith(title)
    window_of_help = text.window()
    assert window_of_help is not None
    assert window_of_help.isVisible()
    assert len(text.toPlainText()) > 200
    window_of_help.close()
