"""The legend: classes are added, renamed, recoloured and removed."""

from typing import Any

import pytest
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QColorDialog, QInputDialog, QPushButton

from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.shared.legend import alone, hiding
from napari_nucleus.widgets.shared.result_view import ResultView
from tests.widgets.correct.hands import (
    at_work,
    check_shown,
    click,
    largest,
    press,
    session_of,
    undo,
)

_MOUSE: Any = QTest  # its stubs take functions for methods


def push(widget: CorrectWidget, text: str) -> None:
    buttons = widget.panel.types.findChildren(QPushButton)
    next(button for button in buttons if button.text() == text).click()


def choose(widget: CorrectWidget, row: int) -> None:
    widget.panel.types.table.cellClicked.emit(row, 2)


def test_classes_are_added_renamed_and_recoloured(
    widget: CorrectWidget, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(widget)
    before = session.types
    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("mitosis", True))
    push(widget, "Add…")
    assert list(session.types) == ["dark", "pale", "mitosis"]
    row = largest(widget)
    press(widget, Qt.Key.Key_3)
    click(widget, row)
    assert session.counts()["mitosis"] == 1
    check_shown(widget, viewer)

    monkeypatch.setattr(QInputDialog, "getText", lambda *_, **__: ("in mitosis", True))
    push(widget, "Rename…")
    assert session.rows([row["label"]])["type"].item() == "in mitosis"
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#123456"))
    push(widget, "Colour…")
    assert session.types["in mitosis"] == "#123456"
    rgb = (viewer.layers["classes"].get_color(3)[:3] * 255).round().astype(int).tolist()
    assert rgb == [0x12, 0x34, 0x56]
    assert list(viewer.layers["classes"].features["type"]) == ["", "dark", "pale", "in mitosis"]
    check_shown(widget, viewer)
    for _ in range(4):
        undo(widget)
    assert session.types == before
    check_shown(widget, viewer)


def test_classes_are_hidden_in_the_list_and_in_the_legend(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels, qtbot: QtBot
) -> None:
    """Whichever hides one, the other shows it struck out."""
    view = ResultView(viewer)
    qtbot.addWidget(view)
    view.show_nuclei(nuclei)
    listed = widget.panel.types.table
    table = session_of(widget).table()
    labels = [int(table.loc[table["type"] == name, "label"].iloc[0]) for name in ("dark", "pale")]

    def check(*shown: bool) -> None:
        assert tuple(nuclei.get_color(label)[3] > 0 for label in labels) == shown
        entries = view.legend.entries.values()
        assert tuple(not entry.title.font().strikeOut() for entry in entries) == shown
        names = (listed.item(row, 2) for row in (0, 1))
        assert tuple(not name.font().strikeOut() for name in names if name is not None) == shown

    def click_row(row: int, modifiers: Qt.KeyboardModifier) -> None:
        where = listed.visualItemRect(listed.item(row, 2)).center()
        _MOUSE.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, modifiers, where)

    check(True, True)
    click_row(1, Qt.KeyboardModifier.AltModifier)
    check(False, True)
    assert at_work(widget).type_name == "dark"
    click_row(1, Qt.KeyboardModifier.NoModifier)
    check(False, True)
    assert at_work(widget).type_name == "pale"
    view.legend.toggle("dark")
    check(True, True)
    view.legend.toggle("pale")
    check(True, False)
    widget.panel.types.hide_types([])
    check(True, True)


def test_the_menu_hides_one_class_or_the_others() -> None:
    types = {"dark": "#ff0000", "pale": "#00ff00", "other": "#0000ff"}
    assert hiding("pale", types, {"dark"}) == {
        "Hide": {"dark", "pale"},
        "Show only this class": {"dark", "other"},
        "Show all classes": set(),
    }
    assert hiding("dark", types, {"dark"})["Show"] == set()
    assert alone("pale", types, {"dark"}) == {"dark", "other"}
    assert alone("pale", types, {"dark", "other"}) == set()


def test_a_class_that_nuclei_have_stays(widget: CorrectWidget, viewer: Viewer) -> None:
    session = session_of(widget)
    count = session.counts()["pale"]
    choose(widget, 1)
    push(widget, "Remove")
    assert widget.status.text().startswith(f"{count} nuclei are still pale: ")
    choose(widget, 0)
    press(widget, Qt.Key.Key_C)
    nuclei = session.table()
    for _, row in nuclei[nuclei["type"] == "pale"].iterrows():
        click(widget, row)
    choose(widget, 1)
    push(widget, "Remove")
    assert list(session.types) == ["dark"]
    check_shown(widget, viewer)


def test_the_first_class_can_be_removed(
    widget: CorrectWidget, viewer: Viewer, nuclei: Labels
) -> None:
    """All others have other numbers then."""
    session = session_of(widget)
    choose(widget, 1)
    press(widget, Qt.Key.Key_C)
    table = session.table()
    for _, row in table[table["type"] == "dark"].iterrows():
        click(widget, row)
    choose(widget, 0)
    push(widget, "Remove")
    assert not widget.status.text()
    check_shown(widget, viewer)
    undo(widget)
    check_shown(widget, viewer)
