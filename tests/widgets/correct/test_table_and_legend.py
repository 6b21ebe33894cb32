"""Table, legends and layers of a result are in step, by label."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QColorDialog, QComboBox, QFileDialog

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.inference import segment
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.export import write_csv
from napari_nucleus.slides import Slide, slide_from_arrays
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.shared import layers, save_csv
from napari_nucleus.widgets.shared.layers import nuclei_layers, placement_of, renew
from napari_nucleus.widgets.shared.nuclei_table import NucleiTable, open_table
from napari_nucleus.widgets.shared.nucleus_colors import selected_nuclei
from napari_nucleus.widgets.shared.result_view import ResultView
from napari_nucleus.widgets.shared.table_model import NucleiModel
from tests.tissue import Decoder, tissue
from tests.widgets.correct.hands import at_work, check_shown, session_of, undo

_MOUSE: Any = QTest  # its stubs take functions for methods

ALT = Qt.KeyboardModifier.AltModifier
NONE = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def table(viewer: Viewer, nuclei: Labels) -> NucleiTable:
    viewer.window.resize(1280, 720)
    viewer.show()
    return open_table(viewer, nuclei)


@pytest.fixture
def view(viewer: Viewer, nuclei: Labels, qtbot: QtBot) -> ResultView:
    """Return the legend as *Segment nuclei* has it."""
    view = ResultView(viewer)
    qtbot.addWidget(view)
    view.show_nuclei(nuclei)
    return view


def sort(table: NucleiTable, column: str, order: Qt.SortOrder) -> None:
    columns = [table.model.headerData(i, Qt.Orientation.Horizontal)
               for i in range(table.model.columnCount())]  # fmt: skip
    table.view.sortByColumn(columns.index(column), order)


def rows(table: NucleiTable) -> list[int]:
    """Return the labels of the rows that look selected."""
    model = table.view.selectionModel()
    assert model is not None
    return [int(index.data(Qt.ItemDataRole.EditRole)) for index in model.selectedRows(0)]


def click_row(table: NucleiTable, row: int) -> int:
    """Click a row, and return the label that it shows."""
    index = table.model.index(row, 0)
    table.view.scrollTo(index)
    where = table.view.visualRect(index).center()
    _MOUSE.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, NONE, where)
    return int(index.data(Qt.ItemDataRole.EditRole))


def click_pixel(viewer: Viewer, nuclei: Labels, row: int, column: int) -> None:
    """Click into the view."""
    for press_or_release, kind in (
        (mouse_press_callbacks, "mouse_press"),
        (mouse_release_callbacks, "mouse_release"),
    ):
        press_or_release(
            viewer,
            read_only_mouse_event(
                kind,
                button=1,
                position=nuclei.data_to_world((row, column)),
                pos=np.zeros(2),
                view_direction=None,
                dims_displayed=[0, 1],
                modifiers=[],
            ),
        )


def click_nucleus(viewer: Viewer, nuclei: Labels, label: int) -> None:
    pixels = np.asarray(nuclei.data[0] if nuclei.multiscale else nuclei.data)
    ys, xs = np.nonzero(pixels == label)
    click_pixel(viewer, nuclei, int(ys[0]), int(xs[0]))


def check_selected(viewer: Viewer, table: NucleiTable, nuclei: Labels, label: int) -> None:
    """Hold the selection of table, layer and camera against the pixels of a nucleus."""
    assert rows(table) == [label]
    assert selected_nuclei(nuclei).tolist() == [label]
    ys, xs = np.nonzero(nuclei.data == label)
    middle = ((ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2)
    center = nuclei.world_to_data(viewer.scene.camera.center[-2:])
    assert center == pytest.approx(middle)


def test_rows_and_nuclei_are_selected_by_label_after_sorting(
    viewer: Viewer, nuclei: Labels, table: NucleiTable
) -> None:
    sort(table, "area_um2", Qt.SortOrder.DescendingOrder)
    areas = nuclei.features.set_index("label")["area_um2"]
    label = click_row(table, 0)
    assert label == areas.idxmax()
    check_selected(viewer, table, nuclei, label)
    sort(table, "label", Qt.SortOrder.DescendingOrder)
    assert rows(table) == [label]  # and scrolled to
    click_nucleus(viewer, nuclei, 5)
    assert rows(table) == [5]
    viewport = table.view.viewport()
    assert viewport is not None
    visible = viewport.rect()
    (row,) = table.model.rows_of(np.array([5]))
    assert visible.intersects(table.view.visualRect(table.model.index(int(row), 0)))
    ys, xs = np.nonzero(nuclei.data == 0)
    click_pixel(viewer, nuclei, int(ys[0]), int(xs[0]))
    assert rows(table) == []
    assert len(selected_nuclei(nuclei)) == 0


def test_rows_are_filtered(
    nuclei: Labels, table: NucleiTable, told: Callable[[], list[str]]
) -> None:
    features = nuclei.features
    limit = float(features["area_um2"].median())
    table.type.setCurrentText("dark")
    table.condition.setText(f"area_um2 > {limit}")
    table.condition.returnPressed.emit()
    met = features[(features["type"] == "dark") & (features["area_um2"] > limit)]["label"]
    assert table.model.labels.tolist() == met.tolist()
    assert table.count.text() == f"{len(met)} of {len(features)} nuclei"
    table.condition.setText("area_um2 >")
    table.condition.returnPressed.emit()
    assert "is not a condition (invalid syntax): write one" in told()[-1]
    assert table.model.labels.tolist() == met.tolist()
    table.condition.clear()
    table.view.selectAll()
    dark = features.loc[features["type"] == "dark", "label"]
    assert selected_nuclei(nuclei).tolist() == dark.tolist()


def test_types_are_edited_in_the_table(
    viewer: Viewer, nuclei: Labels, table: NucleiTable, folder: Path, slide: Slide, qtbot: QtBot
) -> None:
    """Without a session that is open: the edit is in the journal, and can be undone."""
    sort(table, "area_um2", Qt.SortOrder.DescendingOrder)
    before = open_result(folder).table().set_index("label")["type"]
    chosen = before.index[before == "dark"][[1, 3]].to_numpy()
    table.select(chosen)
    nuclei.data[:3, :3] = 1000  # painted, and not taken in yet
    table.set_class.setCurrentText("pale")
    table.set_class.activated.emit(table.set_class.currentIndex())
    qtbot.waitUntil(lambda: nuclei.features["type"].eq("pale").sum() > (before == "pale").sum())
    qtbot.waitUntil(table.set_class.isEnabled)
    expected = before.copy()
    expected[chosen] = "pale"
    assert open_result(folder).table().set_index("label")["type"].equals(expected)
    assert table.selected.tolist() == chosen.tolist()
    numbers = np.r_[0, expected.map({"dark": 1, "pale": 2})]
    pixels = open_result(folder).read_labels(0, 0, *nuclei.data.shape[::-1])
    np.testing.assert_array_equal(viewer.layers["classes"].data, numbers[pixels])
    assert (nuclei.data[:3, :3] == 1000).all()
    assert nuclei.metadata["counts"] == open_result(folder).run["counts"]
    with EditSession(folder, slide) as session:
        session.undo()
        assert session.table().set_index("label")["type"].equals(before)


def test_a_cell_offers_the_classes(
    viewer: Viewer, nuclei: Labels, table: NucleiTable, qtbot: QtBot
) -> None:
    features = nuclei.features.set_index("label")["type"]
    label = int(features.index[features == "dark"][0])
    (row,) = table.model.rows_of(np.array([label]))
    index = table.model.index(int(row), 1)
    table.view.edit(index)
    editor = table.view.indexWidget(index)
    assert isinstance(editor, QComboBox)
    assert [editor.itemText(i) for i in range(editor.count())] == ["dark", "pale"]
    editor.setCurrentText("pale")
    editor.activated.emit(1)
    qtbot.waitUntil(lambda: nuclei.features.set_index("label")["type"][label] == "pale")


def test_all_widgets_follow_a_correction(
    viewer: Viewer, nuclei: Labels, table: NucleiTable, view: ResultView, widget: CorrectWidget
) -> None:
    """Legend, class list and table show the same counts, also after an edit is undone."""
    session = session_of(widget)

    def check() -> None:
        counts = session.table()["type"].value_counts()
        for name in session.types:
            assert view.legend.entries[name].count.text() == f"{counts.get(name, 0)}"
        assert table.model.total == len(session.table())
        assert sorted(table.model.labels) == session.table()["label"].tolist()
        check_shown(widget, viewer)

    check()
    sort(table, "area_um2", Qt.SortOrder.DescendingOrder)
    first = click_row(table, 0)
    assert at_work(widget).apply(operations.delete, [first])
    check()
    assert rows(table) == []
    second = click_row(table, 0)
    check_selected(viewer, table, nuclei, second)
    undo(widget)
    check()
    assert rows(table) == [second]
    click_nucleus(viewer, nuclei, first)
    check_selected_row = table.model.rows_of(np.array([first])).tolist()
    assert check_selected_row == [0]
    assert rows(table) == [first]
    other = "dark" if session.rows([first])["type"].item() == "pale" else "pale"
    table.set_class.setCurrentText(other)
    table.set_class.activated.emit(table.set_class.currentIndex())
    assert session.rows([first])["type"].item() == other
    check()
    undo(widget)
    check()


def test_a_new_run_takes_no_selection_over(
    viewer: Viewer, nuclei: Labels, table: NucleiTable, slide: Slide, tmp_path: Path
) -> None:
    label = click_row(table, 3)
    assert rows(table) == [label]
    again = segment(slide, tmp_path / "again.nucleus", Decoder(), region=(0, 0, 260, 100))
    again.run["started"] = nuclei.metadata["started"]  # within the same second
    for name, new in zip(
        ("nuclei", "classes"), nuclei_layers(again, placement_of(nuclei)), strict=True
    ):
        renew(viewer.layers[name], new)
    assert table.model.labels.tolist() == again.table()["label"].tolist()
    assert rows(table) == []
    assert len(selected_nuclei(nuclei)) == 0
    label = click_row(table, 2)
    check_selected(viewer, table, nuclei, label)


def test_all_rows_are_selected_without_asking_each(
    viewer: Viewer, nuclei: Labels, table: NucleiTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qt asks the rows of a selection, in every column, to draw the header."""
    asked: list[object] = []
    flags = NucleiModel.flags

    def watch(model: NucleiModel, index: QModelIndex) -> Qt.ItemFlag:
        asked.append(index)
        return flags(model, index)

    monkeypatch.setattr(NucleiModel, "flags", watch)
    count = 5000
    columns = dict(table.model._columns)
    columns = {name: np.resize(values, count) for name, values in columns.items()}
    columns["label"] = np.arange(1, count + 1)
    table.model.show_nuclei(columns, table.model.types)
    table.view.selectAll()
    table.grab()
    assert table.selected.tolist() == columns["label"].tolist()
    assert len(asked) < count


def test_it_opens_from_correct_nuclei(
    viewer: Viewer, nuclei: Labels, closed: CorrectWidget
) -> None:
    closed.table_button.click()
    table = viewer.window.dock_widgets["Table of nuclei"]
    assert table.model.labels.tolist() == nuclei.features["label"].tolist()


def test_it_fits_a_small_window(table: NucleiTable, closed: CorrectWidget) -> None:
    """1280 px less the layer list (390 px), with a dock beside the image."""
    table.count.setText("1,234,567 of 2,345,678 nuclei")
    assert table.minimumSizeHint().width() <= 890
    assert table.minimumSizeHint().height() < 200


def test_csv_is_that_of_the_result_and_the_window_does_not_wait_for_it(
    table: NucleiTable,
    folder: Path,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[], list[str]],
) -> None:
    go_on = Event()

    def write(result: Result, path: str) -> None:
        assert go_on.wait(20)
        write_csv(result, path)

    monkeypatch.setattr(save_csv, "write_csv", write)
    sort(table, "area_um2", Qt.SortOrder.DescendingOrder)
    file = tmp_path / "saved.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    button = table.csv_button
    button.click()
    assert not button.isEnabled()
    assert button.text() == "Saving…"
    go_on.set()
    qtbot.waitUntil(button.isEnabled)
    write_csv(open_result(folder), tmp_path / "expected.csv")
    assert file.read_bytes() == (tmp_path / "expected.csv").read_bytes()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path), ""))
    button.click()
    qtbot.waitUntil(button.isEnabled)
    assert told() == [f"{tmp_path} is not a file: choose another name."]


def test_large_results_are_in_step(
    viewer: Viewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = slide_from_arrays([tissue(300, 600).coded()], 0.25)  # of two levels
    result = segment(large, tmp_path / "large.nucleus", Decoder())
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    shown = nuclei_layers(result, {})
    for layer in shown:
        viewer.add_layer(layer)
    viewer.show()
    table = open_table(viewer, shown[0])
    click_nucleus(viewer, shown[0], 7)
    assert rows(table) == [7]


def test_the_table_opens_once_and_lets_go(viewer: Viewer, nuclei: Labels) -> None:
    callbacks = list(viewer.mouse_drag_callbacks)
    table = open_table(viewer, nuclei)
    assert open_table(viewer, nuclei) is table
    click_row(table, 1)
    viewer.window.remove_dock_widget(table)
    assert viewer.mouse_drag_callbacks == callbacks
    assert len(selected_nuclei(nuclei)) == 0


def test_entries_of_the_legend_hide_classes(
    viewer: Viewer, nuclei: Labels, view: ResultView
) -> None:
    classes = viewer.layers["classes"]
    table = nuclei.features.set_index("label")["type"]
    dark, pale = (int(table.index[table == name][0]) for name in ("dark", "pale"))

    def drawn() -> list[tuple[bool, bool]]:
        """Return whether the nuclei of either type are drawn in both layers."""
        return [
            (bool(nuclei.get_color(label)[3]), bool(classes.get_color(number)[3]))
            for label, number in ((dark, 1), (pale, 2))
        ]

    def click(name: str, modifiers: Qt.KeyboardModifier = NONE) -> None:
        _MOUSE.mouseClick(view.legend.entries[name], Qt.MouseButton.LeftButton, modifiers)

    on, off = (True, True), (False, False)
    assert drawn() == [on, on]
    click("dark")
    assert drawn() == [off, on]
    assert view.legend.entries["dark"].title.font().strikeOut()
    click("dark")
    assert drawn() == [on, on]
    click("dark", ALT)
    assert drawn() == [on, off]
    click("dark", ALT)
    assert drawn() == [on, on]


def test_hidden_classes_stay_hidden_while_correcting(
    viewer: Viewer, nuclei: Labels, view: ResultView, widget: CorrectWidget
) -> None:
    view.legend.toggle("dark")
    table = session_of(widget).table()
    label = int(table.loc[table["type"] == "pale", "label"].iloc[0])
    assert nuclei.get_color(label)[3] == 1
    at_work(widget).apply(operations.reclassify, [label], "dark")
    assert nuclei.get_color(label)[3] == 0
    undo(widget)
    assert nuclei.get_color(label)[3] == 1


def test_a_double_click_changes_the_colour(
    viewer: Viewer,
    nuclei: Labels,
    view: ResultView,
    folder: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#123456"))
    entry = view.legend.entries["dark"]
    _MOUSE.mouseClick(entry, Qt.MouseButton.LeftButton)
    _MOUSE.mouseDClick(entry, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: open_result(folder).types["dark"] == "#123456")
    qtbot.waitUntil(lambda: nuclei.metadata["types"]["dark"] == "#123456")
    table = nuclei.features.set_index("label")["type"]
    label = int(table.index[table == "dark"][0])
    for color in (nuclei.get_color(label), viewer.layers["classes"].get_color(1)):
        assert (color[:3] * 255).round().astype(int).tolist() == [0x12, 0x34, 0x56]
    assert not entry.title.font().strikeOut()


def test_outlines_are_drawn_and_fills_by_a_slider(
    viewer: Viewer, nuclei: Labels, view: ResultView
) -> None:
    classes = viewer.layers["classes"]
    assert nuclei.contour > 0
    assert 0 < classes.opacity <= 0.2
    assert view.legend.fill.value() == round(100 * classes.opacity)
    view.legend.fill.setValue(70)
    assert classes.opacity == pytest.approx(0.7)
    assert nuclei.opacity == 1
    classes.opacity = 0.3
    assert view.legend.fill.value() == 30


def test_the_canvas_draws_the_colours_of_the_types(viewer: Viewer, nuclei: Labels) -> None:
    """Held against the screen, as napari has no public way to look labels up in an array."""
    viewer.show()
    nuclei.contour = 0
    for layer in viewer.layers:
        layer.visible = layer is nuclei
    view = viewer.scene.camera
    table = nuclei.features
    types = {name: QColor(color).getRgb()[:3] for name, color in nuclei.metadata["types"].items()}
    for row in [table.nlargest(3, "area_um2").iloc[i] for i in range(3)]:
        view.center = nuclei.data_to_world((row["centroid_y"], row["centroid_x"]))
        view.zoom = 200
        picture = viewer.screenshot(canvas_only=True, flash=False)
        middle = picture[picture.shape[0] // 2, picture.shape[1] // 2, :3]
        assert tuple(middle.tolist()) == types[row["type"]]
    label = int(row["label"])
    at = pd.Series([label]).to_numpy()
    layers.select_nuclei(Path(nuclei.metadata["result"]), at, viewer.layers)
    picture = viewer.screenshot(canvas_only=True, flash=False)
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2, :3]
    assert tuple(middle.tolist()) == (255, 255, 255)
