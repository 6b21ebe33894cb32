import numpy as np
import pytest
from skimage.measure import regionprops

from napari_nucleus.measure import label_runs


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_areas_boxes_and_centroids_are_those_of_regionprops(dtype: type) -> None:
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 60, (30, 41)) * 7
    labels: np.ndarray = np.kron(
        coarse * rng.integers(0, 2, coarse.shape), np.ones((3, 2), int)
    ).astype(dtype)
    runs = label_runs(labels)
    regions = regionprops(labels)
    assert runs.labels.tolist() == [one.label for one in regions]
    assert runs.area.tolist() == [one.area for one in regions]
    boxes = [(x0, y0, x1, y1) for y0, x0, y1, x1 in (one.bbox for one in regions)]
    assert runs.boxes.tolist() == [list(box) for box in boxes]
    np.testing.assert_allclose(runs.centroids[:, ::-1], [one.centroid for one in regions])


def test_runs_are_the_pixels_in_raster_order() -> None:
    labels = np.array([[5, 5, 0, 5], [5, 2, 2, -1]])
    runs = label_runs(labels)
    drawn = np.zeros_like(labels)
    for nucleus, x, y, length in zip(runs.nucleus, runs.x, runs.y, runs.length, strict=True):
        drawn[y, x : x + length] = runs.labels[nucleus]
    assert drawn.tolist() == [[5, 5, 0, 5], [5, 2, 2, 0]]
    assert list(zip(runs.y, runs.x, strict=True)) == [(0, 0), (0, 3), (1, 0), (1, 1)]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4, 4)])
def test_without_nuclei(shape: tuple[int, int]) -> None:
    runs = label_runs(np.zeros(shape, np.int32))
    assert (runs.count, runs.boxes.shape, runs.centroids.shape) == (0, (0, 4), (0, 2))
