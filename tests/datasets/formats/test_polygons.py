import numpy as np
import pytest
import shapely
import skimage.draw

from napari_nucleus.datasets.formats.polygons import rasterize
from napari_nucleus.measure.outlines import outlines
from tests.tissue import tissue

Box = tuple[float, float, float, float]


def stars(seed: int, count: int = 12) -> list[np.ndarray]:
    """Crooked outlines (x, y) that lie apart, with corners anywhere between the pixels."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, (count, 9)), axis=1)
    radii = rng.uniform(3, 9, (count, 9))
    centres = np.stack(np.divmod(np.arange(count), 4), 1) * 20 + 10.0
    corners = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], -1)
    return list(corners + centres[:, None])


@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_filled_as_scikit_image_fills_them(seed: int) -> None:
    """scikit-image's pixels have their centres, not their corners, at whole numbers."""
    found = rasterize([shapely.Polygon(star) for star in stars(seed)], (90, 90))
    expected = np.zeros((90, 90), np.int32)
    for number, star in enumerate(stars(seed), 1):
        x, y = star.T - 0.5
        expected[skimage.draw.polygon(y, x, expected.shape)] = number
    assert np.array_equal(found, expected)


def test_exported_outlines_come_back_as_the_same_pixels() -> None:
    labels = tissue(120, 150, seed=3, density=9e-3).labels.copy()
    rng = np.random.default_rng(1)
    labels[rng.random(labels.shape) < 0.05] = 0  # holes, islands, corners that touch
    drawn = outlines(labels)
    numbers = sorted(drawn)
    found = rasterize([drawn[number] for number in numbers], labels.shape)
    assert np.array_equal(np.array([0, *numbers])[found], labels)
    window = rasterize([drawn[number] for number in numbers], (40, 50), (30, 20))
    assert np.array_equal(window, found[20:60, 30:80])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_no_nucleus_disappears_below_another(order: tuple[int, ...]) -> None:
    nested = [shapely.box(0, 0, 20, 20), shapely.box(4, 4, 12, 12), shapely.box(6, 6, 8, 8)]
    found = rasterize([nested[i] for i in order], (20, 20))
    areas = {int(nested[i].area): int((found == n).sum()) for n, i in enumerate(order, 1)}
    assert areas == {400: 400 - 64, 64: 64 - 4, 4: 4}


def test_what_covers_no_centre_has_no_pixel() -> None:
    shapes = [
        shapely.box(1.6, 1, 2.4, 9),  # between two columns of centres
        shapely.Polygon(),
        shapely.box(-9, -9, -1, -1),
        shapely.box(50, 50, 60, 60),
        shapely.box(7, 7, 99, 99),
    ]
    found = rasterize(shapes, (10, 10))
    assert np.unique(found).tolist() == [0, 5]
    assert (found[7:, 7:] == 5).all()
    assert not rasterize([], (4, 5)).any()


def test_outlines_that_cross_themselves_are_filled() -> None:
    """A freehand slip: two triangles that meet in a point."""
    found = rasterize([shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])], (10, 10))
    assert found[5].tolist() == [1] * 4 + [0] * 2 + [1] * 4
    assert found[0, 5] == found[9, 5] == 0
