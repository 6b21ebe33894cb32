"""Conversions, compared with those of scikit-image and with pixels known by construction."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray
from skimage.util import img_as_float, img_as_float32, img_as_ubyte, img_as_uint

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.shared.layer_pixels import conversion, plane_in_view
from napari_nucleus.widgets.shared.layer_slide import layer_slide

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
GREY = RGB[..., 0]
OF_GREY = np.dstack([GREY] * 3)
OPAQUE = np.full((1, 40, 60), 255, np.uint8)
FIRST = np.moveaxis(RGB, -1, 0)
HALF = np.random.default_rng(1).random((40, 60, 3))


@pytest.mark.parametrize(
    ("array", "expected", "told"),
    [
        (RGB, RGB, ""),
        (GREY, OF_GREY, "grey, taken as RGB"),
        (FIRST, RGB, "channel-first, shown as RGB"),
        (np.concatenate([FIRST, OPAQUE]), RGB, "channel-first, shown as RGB"),
        (img_as_float(RGB), RGB, "float 0–1"),
        (HALF, img_as_ubyte(HALF), "float 0–1"),
        (img_as_float32(FIRST), RGB, "channel-first, shown as RGB, float 0–1"),
        (img_as_float(GREY), OF_GREY, "grey, taken as RGB, float 0–1"),
        (RGB.astype(np.float32), RGB, "float 0–255"),
        (RGB.astype(int), RGB, "int64 0–255"),
        (RGB.astype(np.uint16), RGB, "uint16 0–255"),
        (img_as_uint(RGB), RGB, "16-bit"),
        (GREY > 99, np.where(OF_GREY > 99, 255, 0), "grey, taken as RGB, black and white"),
        (np.dstack([RGB, OPAQUE[0]]), RGB, "over white"),
        (np.dstack([RGB, 0 * GREY]), np.full_like(RGB, 255), "over white"),
        (np.stack([RGB, 255 - RGB]), RGB, "the plane in view"),
        (np.stack([GREY, 255 - GREY]), OF_GREY, "grey, taken as RGB, the plane in view"),
        (GREY[None], OF_GREY, "grey, taken as RGB"),
        (np.stack([FIRST, FIRST]), RGB, "channel-first, shown as RGB, the plane in view"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_conversions(
    array: NDArray[np.generic], expected: NDArray[np.generic], told: str, lazy: bool
) -> None:
    layer = Image(da.from_array(array) if lazy else array, name="made")
    assert conversion(layer) == told
    slide = layer_slide(layer, 0.25)
    assert slide.levels[0].dtype == np.uint8
    np.testing.assert_array_equal(slide.levels[0].compute(), expected)


def test_levels_of_a_stack() -> None:
    small = FIRST[:, ::2, ::2]
    levels = [np.stack([0 * FIRST, FIRST]), np.stack([0 * small, small])]
    slide = layer_slide(Image(levels, multiscale=True), 0.25, (1, 0))
    np.testing.assert_array_equal(slide.levels[0].compute(), RGB)
    np.testing.assert_array_equal(slide.levels[1].compute(), RGB[::2, ::2])


def test_names_of_dimensions_tell_channels_from_planes() -> None:
    stack = Image(FIRST, axis_labels=("z", "y", "x"))
    assert conversion(stack) == "grey, taken as RGB, the plane in view"
    early = Image(np.stack([FIRST, FIRST], axis=1), axis_labels=("c", "z", "y", "x"))
    np.testing.assert_array_equal(layer_slide(early, 0.25).levels[0].compute(), RGB)
    # four planes, none of which is opacity
    four = Image(np.concatenate([FIRST, FIRST[:1]]))
    assert conversion(four) == "grey, taken as RGB, the plane in view"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Image(HALF - 0.5, name="depth"), "depth has values from -0.49.* to 0.49.*: scale it"),
        (Image(HALF * 999, name="depth"), "depth has values from 0.* to 99"),
        (Image(np.where(HALF > 0.5, np.nan, HALF), name="depth"), "depth has pixels without a"),
        (Image(RGB.astype(np.uint16) * 9, name="dim"), "dim has 16-bit pixels that reach only"),
        (Image(RGB, rgb=False, name="last"), "last has its channels in the last dimension"),
    ],
)
def test_pixels_of_unknown_meaning_are_refused(layer: Image, reason: str) -> None:
    for use in (conversion, lambda one: layer_slide(one, 0.25)):
        with pytest.raises(UserError, match=reason):
            use(layer)


def test_the_plane_in_view_is_taken(viewer: Viewer) -> None:
    planes = np.stack([GREY, 255 - GREY, GREY // 2])
    layer = viewer.add_image(planes, scale=(4, 1, 1), translate=(10, 0, 0), axis_labels="zyx")
    viewer.add_image(np.zeros((30, 3, 40, 60)))  # a longer one
    for plane in range(3):
        viewer.dims.set_point(1, 10 + 4 * plane)
        assert plane_in_view(viewer, layer) == (plane,)
        slide = layer_slide(layer, 0.25, plane_in_view(viewer, layer))
        np.testing.assert_array_equal(slide.levels[0][..., 0].compute(), planes[plane])
