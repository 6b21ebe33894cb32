from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import regionprops

from napari_nucleus.errors import UserError
from napari_nucleus.instances import hover_instances
from napari_nucleus.metrics import score_pair

VECTORS = np.load(Path(__file__).parents[1] / "vectors" / "postproc_vectors.npz")
CASES = sorted(name.removesuffix("_np") for name in VECTORS if name.endswith("_np"))
# Half of the Sobel kernel, the blur and twice the opening: beyond, a pixel feels nothing.
REACH = 10 + 1 + 4


def _maps(case: str) -> tuple[Any, Any, Any]:
    hv = np.moveaxis(VECTORS[f"{case}_hv"], -1, 0)
    return VECTORS[f"{case}_np"], hv, VECTORS[f"{case}_tp"]


def _disks(shape, *disks):
    """Perfect maps of disks (x, y, radius)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask, hv = np.zeros(shape, np.float32), np.zeros((2, *shape), np.float32)
    for cx, cy, radius in disks:
        inside = ((x - cx) ** 2 + (y - cy) ** 2 <= radius**2) & (mask == 0)
        mask[inside] = 1
        hv[:, inside] = np.stack([x - cx, y - cy])[:, inside] / radius
    return mask, hv


def test_all_six_cases_are_there():
    assert len(CASES) == 6


@pytest.mark.parametrize("case", CASES)
def test_norm_map_equals_reference(case):
    labels, table = hover_instances(*_maps(case), norm="map")
    np.testing.assert_array_equal(labels, VECTORS[f"{case}_inst"])
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(table["label"], VECTORS[f"{case}_ids"])
    np.testing.assert_array_equal(table["type"], VECTORS[f"{case}_type"])
    np.testing.assert_array_equal(table["type_prob"], VECTORS[f"{case}_type_prob"])
    np.testing.assert_array_equal(
        table[["y0", "x0", "y1", "x1"]], VECTORS[f"{case}_bbox"].reshape(-1, 4)
    )
    np.testing.assert_array_equal(
        table[["centroid_x", "centroid_y"]], VECTORS[f"{case}_centroid_xy"]
    )


@pytest.mark.parametrize("case", CASES)
def test_norm_fixed_is_close_to_norm_map(case):
    labels, table = hover_instances(*_maps(case))
    expected, _ = hover_instances(*_maps(case), norm="map")
    found, wanted = len(table), len(np.unique(expected)) - 1
    assert abs(found - wanted) <= 0.03 * wanted
    if wanted:
        assert score_pair(expected, labels)["pq"] > 0.95
        truth = VECTORS[f"{case}_gt"]
        assert score_pair(truth, labels)["pq"] > score_pair(truth, expected)["pq"] - 0.04


def test_norm_fixed_gives_a_tile_the_nuclei_of_the_whole():
    mask, hv, types = _maps("f_nonsquare_300x500")
    whole, table = hover_instances(mask, hv, types)
    components = ndimage.label(mask >= 0.5)[0]
    compared = 0
    for x, y in ((0, 0), (37, 90), (150, 61), (243, 100)):
        tile = np.s_[y : y + 200, x : x + 257]
        labels, tile_table = hover_instances(mask[tile], hv[:, *tile], types[tile])
        inner = np.zeros_like(whole, bool)
        inner[y + REACH : y + 200 - REACH, x + REACH : x + 257 - REACH] = True
        # A clump that leaves the tile may be shared out differently, so only whole ones count.
        cut = np.unique(components[~inner])
        expected = np.where(np.isin(components[tile], cut), 0, whole[tile])
        kept = labels * (expected > 0)
        np.testing.assert_array_equal(kept > 0, expected > 0)
        pairs = np.unique(np.stack([expected[expected > 0], kept[expected > 0]]), axis=1).T
        assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
        ours = tile_table.set_index("label").loc[pairs[:, 1]].reset_index(drop=True)
        theirs = table.set_index("label").loc[pairs[:, 0]].reset_index(drop=True)
        ours[["centroid_x", "x0", "x1"]] += x
        ours[["centroid_y", "y0", "y1"]] += y
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        compared += len(pairs)
    assert compared > 50


def test_norm_map_depends_on_the_tile():
    """What `norm="fixed"` is for: a few very steep pixels elsewhere lose nuclei here."""
    mask, hv = _disks((120, 120), (40, 40, 12), (63, 40, 12), (40, 90, 25))
    disturbed = hv.copy()
    disturbed[:, :, 100:110] = -20
    disturbed[:, :, 110:] = 20
    here = np.s_[:, :80]

    def counts(norm):
        maps = [hover_instances(mask, planes, norm=norm)[0] for planes in (hv, disturbed)]
        return [len(np.unique(labels[here])) - 1 for labels in maps]

    assert counts("fixed") == [3, 3]
    assert counts("map")[0] == 3
    assert counts("map")[1] != 3


@pytest.mark.parametrize("radius", [6, 10, 15, 40, 80])
def test_a_nucleus_of_any_size_is_found_whole(radius):
    mask, hv = _disks((200, 200), (100, 100, radius))
    labels, table = hover_instances(mask, hv)
    np.testing.assert_array_equal(labels, mask)
    assert table["centroid_x"].tolist() == table["centroid_y"].tolist() == [100]


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
def test_touching_nuclei_are_split(angle):
    dx, dy = 11 * np.cos(np.radians(angle)), 11 * np.sin(np.radians(angle))
    mask, hv = _disks((80, 80), (40 - dx, 40 - dy, 12), (40 + dx, 40 + dy, 12))
    assert ndimage.label(mask)[1] == 1
    _, table = hover_instances(mask, hv)
    assert len(table) == 2
    centres = table[["centroid_x", "centroid_y"]].to_numpy()
    assert np.hypot(*(centres[0] - centres[1])) == pytest.approx(22, abs=1.5)


def test_table_describes_the_labels():
    labels, table = hover_instances(*_maps("c_dense_noisy_256"))
    for row, region in zip(table.itertuples(), regionprops(labels), strict=True):
        assert row.label == region.label
        assert (row.y0, row.x0, row.y1, row.x1) == region.bbox
        assert (row.centroid_y, row.centroid_x) == pytest.approx(region.centroid)


def test_type_is_background_only_if_nothing_else():
    mask, hv = _disks((60, 30), (15, 15, 8), (15, 45, 8))
    types = np.zeros((60, 30), np.uint8)
    types[15, 12:18] = [3, 3, 3, 2, 2, 2]
    _, table = hover_instances(mask, hv, types)
    assert table["type"].tolist() == [2, 0]
    area = (mask[:30] > 0).sum()
    assert table["type_prob"].tolist() == pytest.approx([3 / area, 1])


def test_without_types():
    _, table = hover_instances(*_disks((40, 40), (20, 20, 8)))
    assert table["type"].tolist() == [0]
    assert table["type_prob"].isna().all()


def test_min_size_is_the_smallest_nucleus():
    mask, hv = _disks((40, 80), (20, 20, 6), (60, 20, 8))
    small, large = (int((part > 0).sum()) for part in np.hsplit(mask, 2))
    for min_size, count in ((small, 2), (small + 1, 1), (large, 1), (large + 1, 0)):
        labels, table = hover_instances(mask, hv, min_size=min_size)
        assert len(table) == len(np.unique(labels)) - 1 == count


def test_thresholds_and_sobel_size_are_used():
    case = _maps("c_dense_noisy_256")
    counts = [
        len(hover_instances(*case, **options)[1])
        for options in ({}, {"np_threshold": 0.999}, {"marker_threshold": 0.1}, {"sobel_size": 7})
    ]
    assert len(set(counts)) == 4


@pytest.mark.parametrize(
    ("np_shape", "hv_shape", "tp_shape", "options", "message"),
    [
        ((8, 8), (8, 8, 2), None, {}, "hv must be"),
        ((2, 8, 8), (2, 8, 8), None, {}, "np must be"),
        ((0, 8), (2, 0, 8), None, {}, "at least one pixel"),
        ((8, 8), (2, 8, 8), (8, 9), {}, "tp must be"),
        ((8, 8), (2, 8, 8), None, {"norm": "tile"}, "norm must be"),
        ((8, 8), (2, 8, 8), None, {"sobel_size": 20}, "odd"),
    ],
)
def test_refuses_maps_that_do_not_belong_together(np_shape, hv_shape, tp_shape, options, message):
    types = None if tp_shape is None else np.zeros(tp_shape, int)
    with pytest.raises(UserError, match=message):
        hover_instances(np.zeros(np_shape), np.zeros(hv_shape), types, **options)


def test_nuclei_of_low_mean_probability_are_dropped():
    mask, hv = _disks((60, 120), (30, 30, 10), (80, 30, 10))
    probability = mask * np.where(np.arange(120) < 55, 0.9, 0.6)
    both, _ = hover_instances(probability, hv)
    labels, table = hover_instances(probability, hv, min_probability=0.7)
    assert both.max() == 2
    np.testing.assert_array_equal(labels > 0, (probability > 0.8))
    assert len(table) == 1
