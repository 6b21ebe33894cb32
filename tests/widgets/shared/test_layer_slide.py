from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image
from napari.viewer import Viewer

from napari_nucleus.errors import UserError
from napari_nucleus.slides import open_slide
from napari_nucleus.widgets.shared.layer_slide import layer_mpp, layer_slide
from napari_nucleus.widgets.shared.layers import image_layer

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.mark.parametrize(
    ("place", "mpp"),
    [
        ({}, None),
        ({"scale": (0.25, 0.25)}, None),  # of what?
        ({"scale": (0.25, 0.25), "units": ("um", "um")}, 0.25),
        ({"scale": (500, 500), "units": ("nm", "nm")}, 0.5),
        ({"scale": (0.25, 0.5), "units": ("um", "um")}, None),
    ],
)
def test_scale_is_known_where_the_unit_is_a_length(place: dict, mpp: float | None) -> None:
    assert layer_mpp(Image(PIXELS, **place)) == pytest.approx(mpp)


@pytest.mark.parametrize(
    "layer",
    [
        Image(PIXELS, name="made"),
        Image([PIXELS, PIXELS[::2, ::2]], multiscale=True, name="made"),
        Image(np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)]), name="made"),
    ],
    ids=["plain", "multiscale", "opacity"],
)
def test_pixels_of_any_layer(layer: Image) -> None:
    slide = layer_slide(layer, 0.25)
    assert (slide.name, slide.path, slide.mpp) == ("made", None, 0.25)
    np.testing.assert_array_equal(slide.read(0, 0, 60, 40), PIXELS)


def test_a_layer_knows_its_file(tmp_path: Path, make_napari_viewer_proxy: type[Viewer]) -> None:
    """Whether this plugin or napari has opened it."""
    from PIL import Image as Picture

    file = tmp_path / "tissue.png"
    Picture.fromarray(PIXELS).save(file)
    (by_napari,) = make_napari_viewer_proxy().open(file, plugin="napari")
    for layer in (image_layer(open_slide(file)), by_napari):
        layer.name = "renamed"
        slide = layer_slide(layer, 0.25)
        assert (slide.name, slide.path) == ("tissue", file)
        assert slide.digest() == open_slide(file).digest()


def test_other_pixels_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="float64"):
        layer_slide(Image(np.zeros((40, 60)), name="depth"), 0.25)
