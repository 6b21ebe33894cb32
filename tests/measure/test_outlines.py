import numpy as np
import pytest
import shapely

from napari_nucleus.measure.outlines import outlines


def assert_exact(labels: np.ndarray, found: dict[int, shapely.Geometry]) -> None:
    assert set(found) == set(np.unique(labels[labels > 0]).tolist())
    y, x = np.indices(labels.shape) + 0.5
    for label, outline in found.items():
        assert outline.is_valid
        np.testing.assert_array_equal(shapely.contains_xy(outline, x, y), labels == label)
        assert outline.area == (labels == label).sum()


@pytest.mark.parametrize("seed", range(30))
def test_noise_gives_valid_outlines_of_exactly_its_pixels(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (9, 9))
    assert_exact(labels, outlines(labels))


def test_touching_nuclei_share_their_edge() -> None:
    labels = np.repeat([[5, 5, 9, 9, 9]], 4, axis=0)
    found = outlines(labels)
    assert_exact(labels, found)
    assert found[5].equals(shapely.box(0, 0, 2, 4))
    assert found[5].intersection(found[9]).length == 4
    assert len(found[5].exterior.coords) == 5


def test_background_that_is_open_at_a_corner_only() -> None:
    """Walked in one ring, which touches itself; a hole in a polygon that OGC calls valid."""
    labels = np.ones((3, 3), int)
    labels[1, 1] = labels[0, 0] = 0
    outline = outlines(labels)[1]
    assert outline.is_valid
    assert (outline.area, len(outline.interiors)) == (7, 1)
    assert not outline.contains(shapely.Point(1.5, 1.5))


def test_every_pattern_of_nine_pixels_is_valid() -> None:
    """As QuPath's reader and OGC have it: a polygon, or at least two that touch by points only."""
    for number in range(1, 512):
        labels = np.array([number >> bit & 1 for bit in range(9)]).reshape(3, 3)
        outline = outlines(labels)[1]
        assert outline.is_valid, labels
        assert outline.area == labels.sum()
        assert outline.geom_type == "Polygon" or len(outline.geoms) > 1
        y, x = np.mgrid[:3, :3] + 0.5
        assert np.array_equal(shapely.contains_xy(outline, x, y), labels == 1)
        back = shapely.from_geojson(shapely.to_geojson(outline))
        assert back.is_valid
        assert back.equals(outline)


def test_hole() -> None:
    labels = np.ones((5, 5), int)
    labels[2, 2] = 0
    outline = outlines(labels)[1]
    assert outline.geom_type == "Polygon"
    assert [ring.length for ring in outline.interiors] == [4]


def test_parts_that_touch_by_a_corner() -> None:
    outline = outlines(np.eye(3, dtype=int))[1]
    assert outline.geom_type == "MultiPolygon"
    assert len(outline.geoms) == 3


def test_origin() -> None:
    assert outlines(np.array([[0, 4]]), (100, 30))[4].bounds == (101, 30, 102, 31)


def test_nothing() -> None:
    assert outlines(np.zeros((4, 4), int)) == {}
