from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.shared.regions import shape_region, shape_regions, visible_region

PLACE = {"scale": (0.25, 0.25), "units": ("um", "um"), "translate": (30, -20)}


def add_image(viewer: Viewer, height: int = 300, width: int = 500) -> Image:
    return viewer.add_image(np.zeros((height, width, 3), np.uint8), **PLACE)


@pytest.mark.parametrize("zoom", [3, 20])
def test_region_in_view_is_what_napari_itself_draws(
    zoom: float, make_napari_viewer_proxy: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    image = add_image(viewer)
    viewer.scene.camera.center = (0, 60, 30)
    viewer.scene.camera.zoom = zoom
    qtbot.wait(200)  # until it is drawn
    (top, left), (bottom, right) = image.corner_pixels
    x, y, width, height = visible_region(viewer, image)
    assert (x, y) == pytest.approx((left, top), abs=2)
    assert (x + width, y + height) == pytest.approx((right, bottom), abs=2)


def test_image_must_be_in_view() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    viewer.scene.camera.center = (0, -9000, -9000)
    with pytest.raises(UserError, match="move it into view"):
        visible_region(viewer, image)


def test_shape_covers_the_pixels_that_it_touches() -> None:
    """Pixel k of the image spans k - 1/2 to k + 1/2 in napari's data coordinates."""
    viewer = ViewerModel()
    image = add_image(viewer)
    corners = np.array([[9.5, 19.5], [9.5, 119.5], [59.5, 119.5], [59.5, 19.5]])
    viewer.add_shapes([corners], **PLACE)
    assert shape_region(viewer, image) == (20, 10, 100, 50)


def test_shape_of_another_scale_is_where_it_is_seen() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    world = np.array([image.data_to_world(corner) for corner in ([9.6, 19.6], [59.4, 119.4])])
    viewer.add_shapes([world / 0.5], scale=(0.5, 0.5), units=("um", "um"))
    assert shape_region(viewer, image) == (20, 10, 100, 50)


def test_shape_that_hangs_over_is_cut() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    viewer.add_shapes([[[-40, -70], [-40, 99.4], [49.4, 99.4], [49.4, -70]]], **PLACE)
    assert shape_region(viewer, image) == (0, 0, 100, 50)


def test_which_shape_must_be_clear() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    with pytest.raises(UserError, match="no shapes layer"):
        shape_region(viewer, image)
    shapes = viewer.add_shapes(**PLACE)
    with pytest.raises(UserError, match="draw one"):
        shape_region(viewer, image)
    square = np.array([[9.6, 9.6], [9.6, 19.4], [19.4, 19.4], [19.4, 9.6]])
    shapes.add([square, square + 100, square - 900])
    with pytest.raises(UserError, match="select one"):
        shape_region(viewer, image)
    shapes.selected_data = {1}
    assert shape_region(viewer, image) == (110, 110, 10, 10)
    shapes.selected_data = {2}
    with pytest.raises(UserError, match="outside"):
        shape_region(viewer, image)


def test_selected_shapes_layer_counts() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    square = np.array([[9.6, 9.6], [9.6, 19.4], [19.4, 19.4], [19.4, 9.6]])
    below = viewer.add_shapes([square], **PLACE)
    viewer.add_shapes([square + 100], **PLACE)
    assert shape_region(viewer, image) == (110, 110, 10, 10)
    viewer.layers.selection.active = below
    assert shape_region(viewer, image) == (10, 10, 10, 10)


def test_outline_follows_the_shape() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    triangle = [[10, 20], [10, 120], [60, 20]]
    shapes = viewer.add_shapes([triangle], shape_type="polygon", **PLACE)
    assert np.array(shape_regions(viewer, image)["region 1"]) == pytest.approx(np.fliplr(triangle))
    box = np.array([[0, 0], [0, 80], [40, 80], [40, 0]])
    shapes.data = []
    shapes.add(box, shape_type="ellipse")
    x, y = np.array(shape_regions(viewer, image)["region 1"]).T
    assert ((x - 40) / 40) ** 2 + ((y - 20) / 20) ** 2 == pytest.approx(np.ones(len(x)))


def test_line_holds_nothing() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    viewer.add_shapes([[[10, 20], [60, 90]]], shape_type="line", **PLACE)
    with pytest.raises(UserError, match="is a line"):
        shape_region(viewer, image)


def test_all_shapes_unless_some_are_selected() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    square = np.array([[10, 10], [10, 20], [20, 20], [20, 10]])
    shapes = viewer.add_shapes([square, square + 100, square + 200], **PLACE)
    regions = shape_regions(viewer, image)
    assert list(regions) == ["region 1", "region 2", "region 3"]
    for corners, right in zip(regions.values(), (0, 100, 200), strict=True):
        assert np.array(corners) == pytest.approx(np.fliplr(square) + right)
    shapes.selected_data = {2, 1}
    assert list(shape_regions(viewer, image)) == ["region 2", "region 3"]
    shapes.add([[10, 20], [60, 90]], shape_type="line")
    shapes.selected_data = set()
    with pytest.raises(UserError, match="is a line"):
        shape_regions(viewer, image)


def test_shapes_have_the_names_that_their_features_tell() -> None:
    viewer = ViewerModel()
    image = add_image(viewer)
    square = np.array([[10, 10], [10, 20], [20, 20], [20, 10]])
    features = {"area": [1, 2, 3, 4], "name": ["tumour", "", "tumour", "stroma"]}
    viewer.add_shapes([square + 40 * n for n in range(4)], features=features, **PLACE)
    names = ["tumour", "region 2", "tumour (2)", "stroma"]
    assert list(shape_regions(viewer, image)) == names
