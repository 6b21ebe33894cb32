"""Many images in the window: a list that is worked off, and is not begun anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
from napari.viewer import Viewer
from PIL import Image as Picture
from pytestqt.qtbot import QtBot

from napari_nucleus.results import open_result
from napari_nucleus.results.unfinished import finished_tiles
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.segment.batch_page import BatchPage
from tests.tissue import tissue
from tests.widgets.segment.conftest import Turnstile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two images, one that is none, a hidden file, and a text."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "c.png")):
        pixels = tissue(170, 330, seed).coded()
        Picture.fromarray(pixels).save(folder / name, dpi=(25400 / 0.25,) * 2)
    (folder / "b.png").write_bytes(b"not an image")
    (folder / ".d.png").write_bytes(b"")
    (folder / "notes.txt").write_text("of the lab")
    return folder


@pytest.fixture
def page(widget: SegmentWidget, folder: Path) -> BatchPage:
    widget.pages.setCurrentIndex(1)
    widget.batch.add([folder])
    return widget.batch


def states(page: BatchPage) -> list[str]:
    return [row.text(1) for row in page._rows]


def ended(page: BatchPage) -> bool:
    return page.segment_button.isEnabled()


def test_a_folder_is_its_images_each_once(page: BatchPage, folder: Path) -> None:
    page.add([folder / "c.png", folder])
    assert page.images == [folder / "a.png", folder / "b.png", folder / "c.png"]
    page._rows[1].setSelected(True)
    page.remove_button.click()
    assert page.images == [folder / "a.png", folder / "c.png"]


def test_each_row_tells_what_became_of_it(
    widget: SegmentWidget, viewer: Viewer, page: BatchPage, folder: Path, qtbot: QtBot
) -> None:
    page.segment_button.click()
    assert not widget.pages.isEnabled()
    assert not widget.form.isEnabled()
    qtbot.waitUntil(lambda: ended(page), timeout=60_000)
    count = open_result(folder / "a.nucleus").run["counts"]["nuclei"]
    assert states(page)[0] == f"{count} nuclei"
    assert states(page)[1].startswith("failed: is not ")
    assert (folder / "c.csv").exists()
    assert page.status.text() == "2 of 3 images are segmented, 1 failed."
    assert widget.pages.isEnabled()
    assert widget.form.isEnabled()
    assert not viewer.layers
    page.segment_button.click()
    qtbot.waitUntil(lambda: ended(page), timeout=60_000)
    assert states(page)[0] == f"{count} nuclei"
    assert page._rows[0].toolTip(1) == "Finished before"
    assert page.status.text() == "2 of 3 images are segmented, 1 failed."
    page.list.itemDoubleClicked.emit(page._rows[0], 0)
    assert [one.name for one in viewer.layers] == ["a", "nuclei", "classes"]


def test_stopped_images_go_on(
    widget: SegmentWidget,
    page: BatchPage,
    folder: Path,
    turnstile: Turnstile,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    widget.form.model.choose_file(tmp_path / "gated.safetensors")
    result = folder / "a.nucleus"
    page.segment_button.click()
    turnstile.let(2)
    qtbot.waitUntil(lambda: finished_tiles(result)[0] == 2, timeout=60_000)
    page.stop_button.click()
    turnstile.let(100)  # no network computes any more
    qtbot.waitUntil(lambda: ended(page), timeout=60_000)
    turnstile.close()
    assert states(page)[0].startswith("stopped: ")
    assert states(page)[1:] == ["waiting", "waiting"]
    assert page.status.text() == (
        "Stopped: 0 of 3 images are segmented; Segment all goes on from there."
    )
    kept, total = finished_tiles(result)
    assert kept == 2
    turnstile.tiles.clear()
    turnstile.let(100)
    page.segment_button.click()
    qtbot.waitUntil(lambda: ended(page), timeout=60_000)
    assert len(turnstile.tiles) == 2 * total - kept
    assert states(page)[0].endswith(" nuclei")


def test_nothing_to_do_is_said(
    widget: SegmentWidget, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    widget.pages.setCurrentIndex(1)
    widget.batch.segment_button.click()
    assert told() == ["No images: add files or a folder."]
    assert widget.batch.status.text() == "No images: add files or a folder."


def test_the_page_shows_what_counts_for_many(widget: SegmentWidget) -> None:
    form = widget.form
    widget.pages.setCurrentIndex(1)
    assert widget.batch.isVisibleTo(widget)
    assert form.model.isVisibleTo(widget)
    assert form.tissue.choice.isVisibleTo(widget)
    for field in (form.layer, form.mpp, form.where, form.target, form.tissue.show_button):
        assert not field.isVisibleTo(widget)
    assert not widget.segment_button.isVisibleTo(widget)
    widget.pages.setCurrentIndex(0)
    assert not widget.batch.isVisibleTo(widget)
    assert form.layer.isVisibleTo(widget)
    assert widget.segment_button.isVisibleTo(widget)
