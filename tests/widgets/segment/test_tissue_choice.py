"""Glass is left out; what is tissue is shown, and may be painted."""

from collections.abc import Callable

import numpy as np
import pytest
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.results import open_result
from napari_nucleus.slides.tissue import Tissue
from napari_nucleus.widgets.segment import SegmentWidget, tissue_choice
from napari_nucleus.widgets.segment.tissue_choice import tissue_layer
from tests.tissue import Decoder
from tests.tissue import Tissue as Made
from tests.widgets.segment.test_segment import press_segment


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Tissue:
    """Let the left 80 of 260 pixels be tissue."""
    mask = np.zeros((21, 26), bool)
    mask[:, :8] = True
    found = Tissue(mask, (10, 10))
    monkeypatch.setattr(tissue_choice, "find_tissue", lambda _: found)
    monkeypatch.setattr("napari_nucleus.inference.pipeline.find_tissue", lambda _: found)
    monkeypatch.setattr(Decoder, "tile", 64, raising=False)
    monkeypatch.setattr(Decoder, "margin", 32, raising=False)
    return found


def show(widget: SegmentWidget, viewer: Viewer, qtbot: QtBot) -> None:
    widget.form.tissue.show_button.click()
    qtbot.waitUntil(lambda: "tissue" in viewer.layers, timeout=60_000)


def reach(image: Image) -> tuple[float, float]:
    """Return the first and the last x of the centres of all nuclei."""
    centres = open_result(image.metadata["result"]).table()["centroid_x"]
    return centres.min(), centres.max()


def test_tissue_lies_on_the_image(
    widget: SegmentWidget, viewer: Viewer, image: Image, found: Tissue, qtbot: QtBot
) -> None:
    show(widget, viewer, qtbot)
    layer = viewer.layers["tissue"]
    for corner in ((-0.5, -0.5), (209.5, 259.5)):
        on_mask = (np.array(corner) + 0.5) / 10 - 0.5
        np.testing.assert_allclose(layer.data_to_world(on_mask), image.data_to_world(corner))
    assert layer.units == image.units
    np.testing.assert_array_equal(layer.data, found.mask)
    assert [one.name for one in viewer.layers] == ["made", "tissue"]
    assert widget.form.tissue.share.text() == "31%"
    assert widget.form.tissue.choice.currentText() == "Found automatically"
    assert widget.form.tissue.tissue is None


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (0.5, 0.5), "translate": (7, -3), "rotate": 30},
        {"scale": (2, 2), "affine": np.array([[0, 1, 5], [-2, 0.1, 9], [0, 0, 1]])},
    ],
)
def test_tissue_lies_on_an_image_that_is_turned(place: dict) -> None:
    image = Image(np.zeros((80, 120, 3), np.uint8), rgb=True, **place)
    layer = tissue_layer(Tissue(np.ones((8, 30), bool), (10, 4)), image)
    for corner in ((-0.5, -0.5), (79.5, -0.5), (79.5, 119.5)):
        on_mask = (np.array(corner) + 0.5) / (10, 4) - 0.5
        np.testing.assert_allclose(layer.data_to_world(on_mask), image.data_to_world(corner))


def test_what_is_painted_is_segmented(
    widget: SegmentWidget, viewer: Viewer, image: Image, made: Made, found: Tissue, qtbot: QtBot
) -> None:
    press_segment(widget, qtbot)
    first, last = reach(image)
    assert first < 30
    assert last < 150  # the tiles of 64 px with tissue, and a rim around it
    show(widget, viewer, qtbot)
    layer = viewer.layers["tissue"]
    layer.data[:] = 0
    layer.paint((10, 25), 1)
    assert widget.form.tissue.choice.currentText() == "As edited"
    share = np.count_nonzero(layer.data) / layer.data.size
    assert 0.2 < share < 0.8
    assert widget.form.tissue.share.text() == f"{share:.0%}"
    press_segment(widget, qtbot)
    assert reach(image)[0] > 64 - 16
    widget.form.tissue.choice.setCurrentText("Whole image")
    assert not widget.form.tissue.share.text()
    press_segment(widget, qtbot)
    first, last = reach(image)
    assert first < 30
    assert last > 230


def test_a_problem_is_one_line(
    widget: SegmentWidget, viewer: Viewer, made: Made, told: Callable[[], list[str]], qtbot: QtBot
) -> None:
    viewer.add_image(made.coded(), name="no scale")
    widget.form.tissue.show_button.click()
    qtbot.waitUntil(lambda: bool(told()), timeout=60_000)
    assert "µm/px of no scale is unknown" in told()[-1]
    assert widget.form.tissue.show_button.isEnabled()
    assert [one.name for one in viewer.layers] == ["no scale"]
