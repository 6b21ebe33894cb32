from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from napari_nucleus.errors import UserError
from napari_nucleus.instances import DISTANCE, distance_instances
from napari_nucleus.metrics import score_pair

VECTORS = np.load(Path(__file__).parents[1] / "vectors" / "postproc_vectors.npz")
CASES = sorted(name.removesuffix("_gt") for name in VECTORS if name.endswith("_gt"))


def _disks(shape, *disks):
    y, x = np.mgrid[: shape[0], : shape[1]]
    masks = [(x - cx) ** 2 + (y - cy) ** 2 <= radius**2 for cx, cy, radius in disks]
    return np.any(masks, axis=0)


def _ellipse(shape, a, b, angle):
    y, x = (np.mgrid[: shape[0], : shape[1]].T - np.array(shape[::-1]) // 2).T
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return ((c * x + s * y) / a) ** 2 + ((c * y - s * x) / b) ** 2 <= 1


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
@pytest.mark.parametrize("gap", [15, 19, 22])
def test_overlapping_discs_are_split_at_the_neck(angle, gap):
    dx, dy = gap / 2 * np.cos(np.radians(angle)), gap / 2 * np.sin(np.radians(angle))
    mask = _disks((80, 80), (40 - dx, 40 - dy, 12), (40 + dx, 40 + dy, 12))
    labels, table = distance_instances(mask)
    np.testing.assert_array_equal(labels > 0, mask)
    assert len(table) == 2
    y, x = np.nonzero(mask)
    right = dx * (x - 40) + dy * (y - 40) > 0
    of_right = np.bincount(labels[y, x], right) / np.maximum(np.bincount(labels[y, x]), 1)
    assert np.sort(of_right[table["label"]]) == pytest.approx([0, 1], abs=0.06)


@pytest.mark.parametrize("angle", range(0, 180, 15))
@pytest.mark.parametrize(("a", "b"), [(20, 10), (30, 8), (35, 4)])
def test_an_ellipse_is_one_nucleus(angle, a, b):
    mask = _ellipse((90, 90), a, b, angle)
    labels, table = distance_instances(mask)
    assert len(table) == 1
    np.testing.assert_array_equal(labels > 0, mask)


@pytest.mark.parametrize("case", CASES)
def test_markers_are_the_h_maxima(case):
    mask = VECTORS[f"{case}_gt"] > 0
    _, table = distance_instances(mask, min_size=0, marker_distance=1.0)
    if not mask.any():
        assert table.empty
        return
    # By definition, with another library: the regional maxima of the filled distance, raised above
    # the floor. Counted in half steps, so that no maximum is exactly as high as asked for.
    distance = np.rint(ndimage.distance_transform_edt(mask) * 16).astype(np.int32)
    raised = np.where(mask, 2 * (distance + 16), 0)
    maxima = local_maxima(reconstruction(np.maximum(raised - 31, 0), raised))
    assert len(table) == ndimage.label(maxima, np.ones((3, 3)))[1]


def test_splits_most_of_what_touches():
    """From a perfect mask of crowded nuclei."""
    truth = VECTORS["c_dense_noisy_256_gt"]
    components = ndimage.label(truth > 0)[0]
    found, _ = distance_instances(truth > 0)
    assert score_pair(truth, found)["pq"] > score_pair(truth, components)["pq"] + 0.02


def test_a_tile_gives_the_nuclei_of_the_whole():
    mask = VECTORS["f_nonsquare_300x500_np"]
    whole, _ = distance_instances(mask)
    components = ndimage.label(mask >= 0.5, np.ones((3, 3)))[0]
    compared = 0
    for x, y in ((0, 0), (37, 90), (150, 61), (243, 100)):
        tile = np.s_[y : y + 200, x : x + 257]
        labels, _ = distance_instances(mask[tile])
        rim = np.ones_like(whole, bool)
        rim[y + 1 : y + 199, x + 1 : x + 256] = False
        intact = ~np.isin(components[tile], np.unique(components[rim]))
        expected, found = (part[intact & (whole[tile] > 0)] for part in (whole[tile], labels))
        pairs = np.unique(np.stack([expected, found]), axis=1).T
        assert found.all()
        assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
        compared += len(pairs)
    assert compared > 50


def test_a_border_parts_what_shape_does_not():
    mask = np.zeros((30, 60), bool)
    mask[10:20, 5:55] = True
    boundary = np.zeros(mask.shape)
    boundary[:, 29:31] = 0.9
    assert len(distance_instances(mask)[1]) == 1
    labels, table = distance_instances(mask, boundary=boundary)
    np.testing.assert_array_equal(labels > 0, mask)
    assert table["centroid_x"].tolist() == [17, 42]


def test_what_is_all_border_is_one_nucleus():
    mask = _disks((30, 60), (15, 15, 6), (45, 15, 10))
    boundary = _disks((30, 60), (15, 15, 8)).astype(float)
    assert len(distance_instances(mask, boundary=boundary)[1]) == 2


def test_types_and_probabilities_are_used():
    mask = _disks((30, 60), (15, 15, 8), (45, 15, 8))
    types = np.where(np.arange(60) < 30, 2, 1) * mask
    probability = mask * np.where(np.arange(60) < 30, 0.9, 0.6)
    _, table = distance_instances(probability, types)
    assert table["type"].tolist() == [2, 1]
    assert table["type_prob"].tolist() == pytest.approx([1, 1])
    _, table = distance_instances(probability, types, min_probability=0.7)
    assert table["type"].tolist() == [2]


def test_min_size_is_the_smallest_nucleus():
    mask = _disks((30, 60), (15, 15, 4), (45, 15, 8))
    small = int(mask[:, :30].sum())
    assert [len(distance_instances(mask, min_size=small + i)[1]) for i in (0, 1)] == [2, 1]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_map_of_one_value(value):
    labels, table = distance_instances(np.full((40, 50), value))
    assert len(table) == value
    assert (labels > 0).all() == bool(value)


def test_published_parameters_are_the_defaults():
    mask = VECTORS["c_dense_noisy_256_np"]
    np.testing.assert_array_equal(
        distance_instances(mask)[0], distance_instances(mask, **DISTANCE.published)[0]
    )
    for key, values in DISTANCE.choices.items():
        assert DISTANCE.published[key] in values


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 8, 8), {}, "np must be"),
        ((0, 8), {}, "at least one pixel"),
        ((8, 8), {"tp": np.zeros((8, 9), int)}, "tp must be"),
        ((8, 8), {"boundary": np.zeros((9, 8))}, "boundary must be"),
        ((8, 8), {"marker_distance": 0}, "above 0"),
    ],
)
def test_refuses_what_does_not_belong_together(shape, options, message):
    with pytest.raises(UserError, match=message):
        distance_instances(np.zeros(shape), **options)
