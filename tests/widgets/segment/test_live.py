"""While an image is segmented, what is looked at comes first and appears; stopping is no loss."""

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.nucleus_types import type_colors
from napari_nucleus.results import open_result
from napari_nucleus.results.unfinished import finished_tiles
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.shared.viewport import ViewCenter
from tests.tissue import TYPES, Tissue, tissue
from tests.widgets.segment.conftest import SIDE, Turnstile

TILES = 5


@pytest.fixture(scope="module")
def large() -> Tissue:
    return tissue(SIDE * TILES, SIDE * TILES, seed=2)


@pytest.fixture
def gated(
    widget: SegmentWidget, viewer: Viewer, turnstile: Turnstile, large: Tissue, tmp_path: Path
) -> Image:
    """Return the image of 5 x 5 tiles, with the network that waits chosen."""
    image = viewer.add_image(
        large.coded(), name="large", scale=(0.25, 0.25), units=("um", "um"), translate=(30, -20)
    )
    widget.form.model.choose_file(tmp_path / "gated.safetensors")
    return image


def look_at(viewer: Viewer, image: Image, row: float, column: float) -> None:
    """Bring the centre of a tile into the middle, with less than a tile around it."""
    center = np.array([row + 0.5, column + 0.5]) * SIDE - 0.5
    viewer.scene.camera.zoom = 40
    viewer.scene.camera.center = image.data_to_world(center)


def shown_tiles(layer: Labels, large: Tissue) -> set[tuple[int, int]]:
    """Return the tiles most of whose nuclei are drawn."""
    labels = np.asarray(layer.data[0][0 : SIDE * TILES, 0 : SIDE * TILES])
    found = set()
    for row in range(TILES):
        for column in range(TILES):
            part = np.s_[row * SIDE : row * SIDE + SIDE, column * SIDE : column * SIDE + SIDE]
            inside = large.labels[part] > 0
            if (labels[part] > 0)[inside].mean() > 0.7:
                found.add((row, column))
    return found


def test_tiles_appear_where_the_viewer_looks(
    widget: SegmentWidget,
    viewer: Viewer,
    gated: Image,
    turnstile: Turnstile,
    large: Tissue,
    qtbot: QtBot,
) -> None:
    look_at(viewer, gated, 3, 4)
    widget.segment_button.click()
    turnstile.let(3)  # a tile is shown when one or two more are through
    qtbot.waitUntil(lambda: "nuclei so far" in viewer.layers, timeout=60_000)
    live = viewer.layers["nuclei so far"]
    assert viewer.layers.selection.active == gated
    qtbot.waitUntil(lambda: (3, 4) in shown_tiles(live, large), timeout=60_000)
    assert shown_tiles(live, large) <= {(2, 4), (3, 3), (3, 4), (4, 4)}
    np.testing.assert_array_equal(live.extent.world, gated.extent.world)
    # the classes have their colours
    labels = np.asarray(live.data[0][0 : SIDE * TILES, 0 : SIDE * TILES])
    part = np.s_[3 * SIDE + 30 : 4 * SIDE - 30, 4 * SIDE + 30 : 5 * SIDE - 30]
    for name, color in type_colors(TYPES).items():
        of_type = np.isin(large.labels, 1 + np.flatnonzero(large.types == name))
        rgb = (live.colormap.map(labels[part][of_type[part]])[:, :3] * 255).round().astype(int)
        drawn = {"#{:02x}{:02x}{:02x}".format(*one) for one in rgb[rgb.any(1)]}
        assert drawn == {color}
    # two tiles are read ahead; then comes what is looked at now
    look_at(viewer, gated, 0, 0)
    turnstile.let(5)
    qtbot.waitUntil(lambda: (0, 0) in shown_tiles(live, large), timeout=60_000)
    turnstile.let(100)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        pass
    assert [layer.name for layer in viewer.layers] == ["large", "nuclei", "classes"]


def test_the_user_may_remove_the_layer(
    widget: SegmentWidget, viewer: Viewer, gated: Image, turnstile: Turnstile, qtbot: QtBot
) -> None:
    widget.segment_button.click()
    turnstile.let(2)
    qtbot.waitUntil(lambda: "nuclei so far" in viewer.layers, timeout=60_000)
    viewer.layers.remove("nuclei so far")
    turnstile.let(100)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        pass
    assert [layer.name for layer in viewer.layers] == ["large", "nuclei", "classes"]


def stop_after(
    widget: SegmentWidget, turnstile: Turnstile, tiles: int, qtbot: QtBot, home: Path
) -> Path:
    """Cancel once so many tiles are finished; return where the result would be."""
    result = home / "documents" / "napari-nucleus" / "large.nucleus"
    widget.segment_button.click()
    turnstile.let(tiles)
    qtbot.waitUntil(lambda: finished_tiles(result)[0] >= tiles, timeout=60_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel_button.click()
        turnstile.let(100)  # no network computes any more
    turnstile.close()
    return result


def test_segment_goes_on_after_cancel(
    widget: SegmentWidget,
    viewer: Viewer,
    gated: Image,
    turnstile: Turnstile,
    qtbot: QtBot,
    home: Path,
) -> None:
    result = stop_after(widget, turnstile, 7, qtbot, home)
    kept, total = finished_tiles(result)
    assert total == 25
    assert kept == 7
    assert widget.status.text() == (
        f"Cancelled: {kept} of 25 tiles are kept; Segment goes on from there."
    )
    assert [layer.name for layer in viewer.layers] == ["large"]
    assert not result.exists()
    turnstile.tiles.clear()
    widget.segment_button.click()
    qtbot.waitUntil(lambda: widget.progress.value() == kept, timeout=60_000)
    qtbot.wait(50)
    first, second = widget.status.text().split("\n")
    assert first.endswith(" nuclei so far")  # nothing tells yet how long a tile takes
    assert int(first.split()[0]) > 30
    assert second == f"Going on: {kept} of 25 tiles were finished."
    turnstile.let(100)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        pass
    assert len(turnstile.tiles) == 25 - kept
    assert open_result(result).run["counts"]["nuclei"] > 100
    assert [one.name for one in result.parent.iterdir()] == ["large.nucleus"]


def test_another_region_is_a_new_result_beside_what_is_unfinished(
    widget: SegmentWidget,
    viewer: Viewer,
    gated: Image,
    turnstile: Turnstile,
    qtbot: QtBot,
    home: Path,
) -> None:
    result = stop_after(widget, turnstile, 1, qtbot, home)
    kept = finished_tiles(result)
    look_at(viewer, gated, 2, 2)
    widget.form.where.setCurrentText("Visible area")
    widget.segment_button.click()
    line = "A new result, large-2: large.nucleus is unfinished, with another region."
    qtbot.waitUntil(lambda: line in widget.status.text(), timeout=60_000)
    turnstile.let(100)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        pass
    assert finished_tiles(result) == kept
    assert (result.parent / "large-2.nucleus").exists()


def test_a_stopped_run_is_offered_when_its_image_is_chosen(
    widget: SegmentWidget,
    viewer: Viewer,
    gated: Image,
    turnstile: Turnstile,
    qtbot: QtBot,
    home: Path,
) -> None:
    kept, total = finished_tiles(stop_after(widget, turnstile, 3, qtbot, home))
    other = viewer.add_image(gated.data[:100].copy(), name="other", scale=(0.25, 0.25))
    assert widget.form.layer.layer == other
    qtbot.waitUntil(lambda: widget.status.text() == "", timeout=60_000)
    widget.form.layer.choose(gated)
    line = f"Unfinished: {kept} of {total} tiles are kept. Segment goes on from there."
    qtbot.waitUntil(lambda: widget.status.text() == line, timeout=60_000)
    widget.form.where.setCurrentText("Visible area")
    qtbot.waitUntil(lambda: widget.status.text() == "", timeout=60_000)


def test_center_of_the_view(viewer: Viewer, made: Tissue) -> None:
    image = viewer.add_image(made.coded(), scale=(0.5, 0.5), translate=(100, 0))
    center = ViewCenter(viewer, image)
    viewer.scene.camera.zoom = 100
    viewer.scene.camera.center = image.data_to_world((120, 60))
    x, y = center() or (0, 0)
    assert (x, y) == pytest.approx((60, 120), abs=1)
    viewer.scene.camera.center = (10_000, 10_000)
    assert center() is None
    center.close()
    viewer.scene.camera.center = image.data_to_world((120, 60))
    assert center() is None
