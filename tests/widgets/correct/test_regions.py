"""A large result is corrected region by region."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_nucleus.inference import segment
from napari_nucleus.results import Result, open_result
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.correct import CorrectWidget, controller
from napari_nucleus.widgets.correct import layers as editing_layers
from napari_nucleus.widgets.shared import layers
from napari_nucleus.widgets.shared.layers import image_layer, nuclei_layers, placement_of
from tests.tissue import Decoder, tissue
from tests.widgets.correct.hands import (
    across,
    at_work,
    check_shown,
    click,
    drag,
    press,
    session_of,
    start,
    undo,
)

Told = Callable[[], list[str]]

HEIGHT, WIDTH = 300, 1100  # two levels


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return tissue(HEIGHT, WIDTH, seed=8).coded()


@pytest.fixture
def result(pixels: np.ndarray, tmp_path: Path) -> Result:
    return segment(slide_from_arrays([pixels], 0.25, "wide"), tmp_path / "wide.nucleus", Decoder())


@pytest.fixture
def large(
    viewer: Viewer, result: Result, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> Labels:
    """Return the layer of a result that counts as large, turned and moved."""
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    monkeypatch.setattr(editing_layers, "PAINTABLE", 300 * 300)
    monkeypatch.setattr(controller, "_AROUND", 200)
    image = image_layer(slide_from_arrays([pixels], 0.25, "wide"))
    image.translate = (30, -20)
    image.rotate = 30
    image.affine = [[1.5, 0, 7], [0, 1.5, 9], [0, 0, 1]]
    image.metadata["result"] = str(result.path)
    viewer.add_layer(image)
    for layer in nuclei_layers(result, placement_of(image)):
        viewer.add_layer(layer)
    return viewer.layers["nuclei"]


def look_at(viewer: Viewer, layer: Labels, x: float, y: float, side: float) -> None:
    """Bring a place into the middle, with about as many pixels around it as are asked for."""
    viewer.scene.camera.center = layer.data_to_world((y, x))
    viewer.scene.camera.zoom = min(viewer.canvas.size) / (side * 0.25 * 1.5)


@pytest.fixture
def widget(viewer: Viewer, large: Labels, qtbot: QtBot) -> CorrectWidget:
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    look_at(viewer, large, 150, 150, 80)
    start(widget, qtbot)
    return widget


def inside(widget: CorrectWidget) -> list[int]:
    """Return the nuclei that lie whole in the region, the largest first."""
    box = at_work(widget).layers.box
    table = session_of(widget).table().sort_values("area_um2", ascending=False)
    whole = (table["x0"] > box.x0) & (table["y0"] > box.y0)
    return table["label"][whole & (table["x1"] < box.x1) & (table["y1"] < box.y1)].tolist()


@pytest.mark.slow
def test_what_is_in_view_is_corrected_and_written_back(
    widget: CorrectWidget, viewer: Viewer, large: Labels, result: Result, qtbot: QtBot
) -> None:
    before = result.read_labels(0, 0, WIDTH, HEIGHT)
    assert not large.visible
    region = at_work(widget).layers
    box = region.box
    assert box.x0 < 150 < box.x1
    assert box.y0 < 150 < box.y1
    assert box.width < WIDTH
    # the region lies exactly on the whole
    for corner in ((0, 0), (box.height - 1, 0), (7, box.width - 1)):
        on_slide = large.data_to_world((corner[0] + box.y0, corner[1] + box.x0))
        np.testing.assert_allclose(region.nuclei.data_to_world(corner), on_slide)
    check_shown(widget, viewer)

    first, second, *_ = inside(widget)
    row = session_of(widget).rows([first]).iloc[0]
    press(widget, Qt.Key.Key_S)
    drag(widget, across(row))
    press(widget, Qt.Key.Key_D)
    click(widget, session_of(widget).rows([second]).iloc[0])
    assert not widget.status.text()
    check_shown(widget, viewer)

    with qtbot.waitSignal(widget.finished, timeout=20_000):
        widget.start_button.click()
    assert [layer.name for layer in viewer.layers] == ["wide", "nuclei", "classes"]
    assert large.visible
    assert viewer.layers["classes"].visible
    after = open_result(result.path).read_labels(0, 0, WIDTH, HEIGHT)
    np.testing.assert_array_equal(large.data[0], after)
    np.testing.assert_array_equal(large.data[1], after[::2, ::2])
    assert not (after == second).any()
    differs = before != after
    assert set(np.unique(before[differs])) == {first, second}


def test_another_region_takes_its_place(
    widget: CorrectWidget, viewer: Viewer, large: Labels
) -> None:
    first = inside(widget)[0]
    press(widget, Qt.Key.Key_D)
    click(widget, session_of(widget).rows([first]).iloc[0])
    painted = at_work(widget).layers.nuclei
    second = inside(widget)[0]
    painted.data[painted.data == second] = 0  # not taken in yet
    look_at(viewer, large, 900, 150, 80)
    press(widget, Qt.Key.Key_O)
    look_at(viewer, large, 900, 150, 40)
    press(widget, Qt.Key.Key_M)
    marked, edge = viewer.layers["reviewed"].edge_color
    assert marked[1] > marked[0]  # green
    np.testing.assert_array_equal(edge, 1)  # white, around what is open
    assert at_work(widget).layers.box.x0 > 500
    assert session_of(widget).rows([first, second]).empty
    check_shown(widget, viewer)
    undo(widget)
    undo(widget)  # far from here
    undo(widget)
    assert len(session_of(widget).rows([first, second])) == 2
    check_shown(widget, viewer)


def test_a_nucleus_to_check_opens_its_surroundings(
    widget: CorrectWidget, viewer: Viewer, large: Labels
) -> None:
    regions = set()
    press(widget, Qt.Key.Key_N)
    for _ in range(12):
        controller = at_work(widget)
        assert controller.queue is not None
        assert controller.queue.current is not None
        box = controller.layers.box
        row = session_of(widget).rows([controller.queue.current.label]).iloc[0]
        assert Box(*(int(row[e]) for e in ("x0", "y0", "x1", "y1"))).grown(0, within=box) == Box(
            *(int(row[e]) for e in ("x0", "y0", "x1", "y1"))
        )
        y, x = large.world_to_data(viewer.scene.camera.center)
        assert (x, y) == pytest.approx((row["centroid_x"], row["centroid_y"]), abs=20)
        check_shown(widget, viewer)
        regions.add(box)
        press(widget, Qt.Key.Key_Y)
    assert len(regions) > 1


def test_too_large_a_region_says_what_to_do(
    viewer: Viewer, large: Labels, qtbot: QtBot, told: Told
) -> None:
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    look_at(viewer, large, 500, 150, 3000)
    start(widget, qtbot)
    (message,) = told()
    assert message.startswith("1,100 × 300 pixels are too many")
    assert widget.workspace is None
    look_at(viewer, large, 500, 150, 80)
    start(widget, qtbot)  # the failure has kept nothing open
    assert not session_of(widget).read_only
    widget.finish()
