"""Pixel sizes that are entered reach the layers, and all layers stay on each other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Layer
from napari.viewer import Viewer
from PIL import Image as Picture
from pytestqt.qtbot import QtBot

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.shared.choices import MppField
from napari_nucleus.widgets.shared.scale import give_scale
from tests.tissue import Tissue

Told = Callable[[], list[str]]
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def corners(layer: Layer) -> np.ndarray:
    """Return where two pixels lie in the world, in µm or pixels."""
    return np.array([layer.data_to_world((0, 0)), layer.data_to_world((30, 50))])


@pytest.mark.parametrize("typed", [250, 0.0005, 25, 0.01])
def test_an_implausible_pixel_size_is_refused(qtbot: QtBot, typed: float) -> None:
    field = MppField()
    qtbot.addWidget(field)
    field.setValue(typed)
    assert field.value() == typed  # not cut off to a plausible one
    with pytest.raises(UserError, match="µm/px is not a plausible pixel size"):
        field.mpp  # noqa: B018
    assert "not a plausible" in field.toolTip()
    field.setValue(0.25)
    assert field.mpp == 0.25
    assert "not a plausible" not in field.toolTip()


def test_image_and_what_lies_on_it_are_scaled_together(viewer: Viewer) -> None:
    turned = {"rotate": 30, "translate": (7, -3)}
    image = viewer.add_image(PIXELS, **turned)
    on_it = [
        viewer.add_shapes(np.array([[5, 5], [20, 30]]), shape_type="rectangle", **turned),
        viewer.add_labels(np.zeros((40, 60), int), translate=(2, 2), scale=(2, 2)),
        viewer.add_points(np.array([[1, 2]]), affine=[[1, 0.5, 4], [0, 1, -2], [0, 0, 1]]),
    ]
    at_scale = viewer.add_image(PIXELS, scale=(0.5, 0.5), units=("um", "um"))
    camera = viewer.scene.camera
    before = [corners(one) for one in (image, *on_it)]
    kept, zoom, center = corners(at_scale), camera.zoom, np.array(camera.center)
    give_scale(viewer, image, 0.25)
    for layer, position in zip((image, *on_it), before, strict=True):
        np.testing.assert_allclose(corners(layer), 0.25 * position)
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
    np.testing.assert_allclose(corners(at_scale), kept)
    assert camera.zoom == pytest.approx(4 * zoom)
    np.testing.assert_allclose(camera.center, 0.25 * center)
    assert viewer.canvas.overlays.scale_bar.visible
    give_scale(viewer, image, 0.5)  # its pixel size is known by now
    np.testing.assert_allclose(corners(image), 0.25 * before[0])


def test_images_in_pixels_beside_others_are_named(viewer: Viewer, told: Told) -> None:
    image = viewer.add_image(PIXELS, name="a")
    viewer.add_image(PIXELS, name="b")
    give_scale(viewer, image, 0.25)
    (message,) = told()
    assert message.startswith("b: pixel size unknown")
    assert [str(unit) for unit in viewer.layers["b"].units] == ["pixel", "pixel"]


def test_typed_pixel_size_scales_the_image_and_its_result_lies_on_it(
    widget: SegmentWidget, viewer: Viewer, made: Tissue, qtbot: QtBot
) -> None:
    image = viewer.add_image(made.coded(), name="made", translate=(30, -20))
    widget.form.layer.choose(image)
    widget.form.mpp.setValue(250)
    widget.segment_button.click()
    assert "not a plausible pixel size" in widget.status.text()
    assert [str(unit) for unit in image.units] == ["pixel", "pixel"]
    widget.form.mpp.setValue(0.25)
    widget.form.mpp.editingFinished.emit()
    assert tuple(image.scale) == (0.25, 0.25)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment_button.click()
    nuclei = viewer.layers["nuclei"]
    np.testing.assert_allclose(corners(nuclei), corners(image))
    assert nuclei.units == image.units


@pytest.mark.parametrize(("dpi", "visible"), [(25400 / 0.5, True), (None, False)])
def test_scale_bar_comes_with_a_slide_of_known_pixel_size(
    viewer: Viewer, tmp_path: Path, dpi: float | None, visible: bool
) -> None:
    Picture.fromarray(PIXELS).save(tmp_path / "slide.tif", dpi=dpi and (dpi, dpi))
    (layer,) = viewer.open(tmp_path / "slide.tif", plugin="napari-nucleus")
    assert isinstance(layer, Image)
    assert viewer.canvas.overlays.scale_bar.visible == visible
