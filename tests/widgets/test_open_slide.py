from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from napari.viewer import Viewer
from PIL import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_nucleus.slides import open_slide as open_slide_file
from napari_nucleus.widgets import open_slide
from napari_nucleus.widgets.open_slide import Choice, OpenSlideWidget, Preview, preview
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.recent import recent_slides, remember
from tests.made_slides import scanner_profile, smooth, write_scn

Told = Callable[[], list[str]]
PIXELS = np.random.default_rng(0).integers((0, 50, 90), (99, 150, 255), (400, 600, 3), np.uint8)


@pytest.fixture
def opener(viewer: Viewer) -> OpenSlideWidget:
    widget = OpenSlideWidget(viewer)
    viewer.window.add_dock_widget(widget)
    return widget


def write(path: Path, mpp: float | None = None) -> Path:
    image = Image.fromarray(PIXELS)
    if mpp is not None:
        image.info["dpi"] = (25400 / mpp,) * 2
    image.save(path, dpi=image.info.get("dpi"))
    return path


def look_at(opener: OpenSlideWidget, path: Path, qtbot: QtBot) -> None:
    opener.look_at(path)
    qtbot.waitUntil(lambda: not opener.picture.text().startswith("Reading"), timeout=20_000)


def test_a_slide_is_shown_before_it_is_opened(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> None:
    look_at(opener, write(tmp_path / "colon.png", 0.5), qtbot)
    assert opener.size_label.text() == "600 × 400 px\n0.30 × 0.20 mm"
    assert opener.levels_label.text() == "1"
    assert opener.mpp.mpp == pytest.approx(0.5, rel=1e-3)
    assert not opener.mpp.isEnabled()
    shown = opener.picture.pixmap().toImage()
    assert (shown.width(), shown.height()) == (180, 120)
    # the whole of it, in its colours
    smooth = Qt.TransformationMode.SmoothTransformation
    mean = shown.scaled(1, 1, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
    assert mean.pixelColor(0, 0).getRgb()[:3] == pytest.approx(PIXELS.mean((0, 1)), abs=4)
    assert not viewer.layers
    opener.open_button.click()
    (layer,) = viewer.layers
    assert layer.name == "colon"
    assert layer.scale == pytest.approx((0.5, 0.5), rel=1e-3)


def test_unknown_scale_can_be_typed_in(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> None:
    look_at(opener, write(tmp_path / "colon.png"), qtbot)
    assert opener.mpp.text() == "unknown"
    assert opener.mpp.isEnabled()
    opener.mpp.setValue(0.2527)
    opener.open_button.click()
    (layer,) = viewer.layers
    assert tuple(layer.scale) == (0.2527, 0.2527)
    assert layer.metadata["mpp"] == 0.2527


def test_what_is_no_slide_is_one_line(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot, told: Told
) -> None:
    look_at(opener, write(tmp_path / "colon.png", 0.5), qtbot)
    (tmp_path / "notes.svs").write_text("no image")
    look_at(opener, tmp_path / "notes.svs", qtbot)
    (message,) = told()
    assert message.startswith("notes.svs is not PNG")
    assert opener.picture.text() == message
    assert not opener.open_button.isEnabled()
    assert opener.size_label.text() == "–"


def test_the_file_chosen_last_is_shown(
    opener: OpenSlideWidget, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long another one takes."""
    let_go, arrived = Event(), list[str]()
    arrive = OpenSlideWidget._on_preview

    def read(choice: Choice) -> Preview:
        if choice.path.name == "first.png":
            let_go.wait()
        return preview(choice)

    def note(widget: OpenSlideWidget, found: Preview) -> None:
        arrive(widget, found)
        arrived.append(found.choice.path.name)

    monkeypatch.setattr(open_slide, "preview", read)
    monkeypatch.setattr(OpenSlideWidget, "_on_preview", note)
    opener.look_at(write(tmp_path / "first.png"))
    look_at(opener, write(tmp_path / "second.png", 0.5), qtbot)
    let_go.set()
    qtbot.waitUntil(lambda: arrived == ["second.png", "first.png"], timeout=20_000)
    assert opener.mpp.mpp == pytest.approx(0.5, rel=1e-3)


def test_opened_slides_are_offered_again(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> None:
    for name in ("a.png", "b.png"):
        look_at(opener, write(tmp_path / name, 0.5), qtbot)
        opener.open_button.click()
    other = OpenSlideWidget(viewer)
    viewer.window.add_dock_widget(other, name="other")
    assert [other.recent.itemText(i) for i in range(other.recent.count())] == ["b.png", "a.png"]
    other.recent.activated.emit(1)
    qtbot.waitUntil(other.open_button.isEnabled, timeout=20_000)
    other.open_button.click()
    assert [path.name for path in recent_slides()] == ["a.png", "b.png"]


def test_recent_slides_are_few_and_exist(tmp_path: Path, home: Path) -> None:
    assert recent_slides() == []
    for number in range(12):
        (tmp_path / f"{number}.svs").touch()
        remember(tmp_path / f"{number}.svs")
    assert [path.stem for path in recent_slides()] == [str(n) for n in range(11, 1, -1)]
    (tmp_path / "7.svs").unlink()
    assert tmp_path / "7.svs" not in recent_slides()
    (home / "state" / "recent.json").write_text("[")
    assert recent_slides() == []


def test_one_of_several_images_is_chosen(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> None:
    """It is segmented as what it is, and a file of one image offers no choice."""
    look_at(opener, write(tmp_path / "colon.png"), qtbot)
    assert not opener.scene.isVisibleTo(opener)
    assert not opener.srgb.isVisibleTo(opener)
    images = [smooth(512, 600, 1), smooth(300, 400, 2)]
    look_at(opener, write_scn(tmp_path / "slide.scn", images, 0.5), qtbot)
    assert opener.scene.isVisibleTo(opener)
    assert opener.scene.currentText() == "whole slide"
    opener.scene.setCurrentIndex(2)
    opener.scene.activated.emit(2)
    qtbot.waitUntil(opener.open_button.isEnabled, timeout=20_000)
    assert opener.scene.currentText() == "region 2"
    assert opener.size_label.text().startswith("400 × 300 px")
    opener.open_button.click()
    (layer,) = viewer.layers
    assert layer.name == "slide region 2"
    slide = layer_slide(layer, 0.5)
    assert slide.path == tmp_path / "slide.scn"
    assert slide.source() == open_slide_file(slide.path, scene="region 2").source()


def test_colours_are_converted_on_request(
    opener: OpenSlideWidget, viewer: Viewer, tmp_path: Path, qtbot: QtBot
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=scanner_profile())
    look_at(opener, tmp_path / "a.png", qtbot)
    assert opener.srgb.isVisibleTo(opener)
    assert not opener.srgb.isChecked()
    opener.srgb.click()
    qtbot.waitUntil(opener.open_button.isEnabled, timeout=20_000)
    assert opener.srgb.isChecked()
    opener.open_button.click()
    (layer,) = viewer.layers
    assert np.abs(layer.data.astype(int) - PIXELS[..., ::-1]).max() <= 2  # as the profile has it
    assert layer_slide(layer, 0.5).srgb
