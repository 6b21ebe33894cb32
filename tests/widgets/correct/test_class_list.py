"""The legend: classes are added, renamed, recoloured and removed."""

import pytest
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QInputDialog, QPushButton

from napari_nucleus.widgets.correct import CorrectWidget
from tests.widgets.correct.hands import check_shown, click, largest, press, session_of, undo


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
