from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
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
        ({"scale": (-0.25, 0.25), "units": ("um", "um")}, 0.25),  # flipped
        ({"scale": (0.25, 0.5), "units": ("um", "um")}, None),
        ({"scale": (264.6, 264.6), "units": ("um", "um")}, None),  # 96 dots per inch
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


def saved(path: Path, mpp: tuple[float, float] = (0.5, 0.5)) -> Path:
    dots = 10_000 / mpp[0], 10_000 / mpp[1]
    tifffile.imwrite(path, PIXELS, photometric="rgb", resolution=dots, resolutionunit="CENTIMETER")
    return path


def crop(layer: Image) -> None:
    layer.data = layer.data[5:35, 10:50]


def flip(layer: Image) -> None:
    layer.data = layer.data[::-1]


def paint(layer: Image) -> None:
    layer.data[20:23, 30:33] = 0


@pytest.mark.parametrize("change", [crop, flip, paint])
def test_a_layer_that_was_changed_is_not_its_file(
    change: Callable[[Image], None], tmp_path: Path, make_napari_viewer_proxy: type[Viewer]
) -> None:
    file = saved(tmp_path / "tissue.tif")
    (by_napari,) = make_napari_viewer_proxy().open(file, plugin="napari")
    for layer in (image_layer(open_slide(file)), by_napari):
        layer.data = np.array(layer.data)
        assert layer_slide(layer, 0.25).path == file
        change(layer)
        layer.name = "part"
        slide = layer_slide(layer, 0.25)
        assert (slide.name, slide.path) == ("part", None)
        np.testing.assert_array_equal(slide.levels[0].compute(), layer.data)
        assert slide.digest() != open_slide(file).digest()


def test_large_layers_are_compared_with_their_file_everywhere(tmp_path: Path) -> None:
    """In a sample, of which every window is at another place."""
    pixels = np.random.default_rng(1).integers(0, 255, (2500, 2500), np.uint8)
    tifffile.imwrite(tmp_path / "large.tif", pixels, tile=(256, 256))
    layer = Image(pixels.copy(), metadata={"path": str(tmp_path / "large.tif")})
    assert layer_slide(layer, 0.25).path == tmp_path / "large.tif"
    for y, x in [(0, 0), (0, 2000), (2000, 0), (2000, 2000), (900, 900)]:
        layer.data[y : y + 500, x : x + 500] += 1
        assert layer_slide(layer, 0.25).path is None
        layer.data[y : y + 500, x : x + 500] -= 1


def test_pixel_size_comes_from_the_file(
    tmp_path: Path, make_napari_viewer_proxy: type[Viewer]
) -> None:
    file = saved(tmp_path / "tissue.tif", (0.5, 0.5))
    (layer,) = make_napari_viewer_proxy().open(file, plugin="napari")
    assert str(layer.units[0]) == "pixel"
    assert layer_mpp(layer) == pytest.approx(0.5)
    layer.scale, layer.units = (0.25, 0.25), ("um", "um")  # which the user knows better
    assert layer_mpp(layer) == 0.25
    layer.scale, layer.units = (1, 1), ("pixel", "pixel")
    layer.data = layer.data[::2, ::2]
    assert layer_mpp(layer) is None


def test_pixels_that_are_not_square_are_named(
    tmp_path: Path, make_napari_viewer_proxy: type[Viewer]
) -> None:
    file = saved(tmp_path / "oblong.tif", (0.25, 0.5))
    (by_napari,) = make_napari_viewer_proxy().open(file, plugin="napari")
    scaled = Image(PIXELS, scale=(0.5, 0.25), units=("um", "um"))
    for layer in (image_layer(open_slide(file)), by_napari, scaled):
        assert layer_mpp(layer) is None
        with pytest.raises(UserError, match=r"not square \(0.25 x 0.5 µm\)"):
            layer_slide(layer, None).require_mpp()
