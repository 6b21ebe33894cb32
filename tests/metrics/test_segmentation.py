import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_nucleus.errors import UserError
from napari_nucleus.metrics import (
    Centroids,
    count_types,
    match_centroids,
    mean_iou,
    mean_panoptic,
    score_pair,
    score_panoptic,
    score_types,
    weighted_f1,
)

VECTORS = Path(__file__).parents[1] / "vectors"
ARRAYS = np.load(VECTORS / "metric_vectors.npz")
ANSWERS = json.loads((VECTORS / "metric_vectors.json").read_text())
PAIRS = sorted(case for case in ANSWERS if f"{case}_true" in ARRAYS)
TYPES = [1, 2, 3, 4, 5]


def _number(answer):
    """The reference's number; NaN where it raises."""
    return np.nan if answer is None or isinstance(answer, str) else answer


def _centroids(image, side):
    return Centroids(ARRAYS[f"{image}_{side}_centroid_xy"], ARRAYS[f"{image}_{side}_type"])


@pytest.fixture
def typed_images():
    return [(_centroids(f"cls_im{i}", "true"), _centroids(f"cls_im{i}", "pred")) for i in range(4)]


def test_all_fourteen_pairs_are_there():
    assert len(PAIRS) == 14


@pytest.mark.parametrize("case", PAIRS)
def test_score_pair_equals_reference(case):
    answer = ANSWERS[case]
    pq = answer["pq@0.5"]
    if isinstance(pq, str):
        pq = {"dq": pq, "sq": pq, "pq": pq}
    expected = {
        "dice": answer["dice1"],
        "dice2": answer["dice2"],
        "aji": answer["aji"],
        "aji_plus": answer["aji_plus"],
        "dq": pq["dq"],
        "sq": pq["sq"],
        "pq": pq["pq"],
    }
    scores = score_pair(ARRAYS[f"{case}_true"], ARRAYS[f"{case}_pred"])
    assert list(scores) == list(expected)
    for name, value in expected.items():
        np.testing.assert_equal(scores[name], _number(value), err_msg=name)


def test_renumbering_changes_no_score():
    true, pred = ARRAYS["13_dense_eroded_shift_true"], ARRAYS["13_dense_eroded_shift_pred"]
    numbers = np.random.default_rng(0).choice(2**31 - 1, size=100, replace=False).astype(np.int64)
    numbers[0] = 0
    renumbered = score_pair(numbers[true], numbers[pred])
    assert renumbered == pytest.approx(score_pair(true, pred), rel=1e-12)


def test_score_pair_by_hand():
    # 8 of 10 columns shared: IoU 8 / 12.
    true, pred = np.zeros((2, 20, 20), int)
    true[:, 2:12], pred[:, 4:14] = 1, 5
    scores = score_pair(true, pred)
    assert scores["dice"] == scores["dice2"] == 0.8
    assert scores["aji"] == scores["aji_plus"] == 2 / 3
    assert scores["dq"] == 1
    assert scores["sq"] == pytest.approx(2 / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (np.zeros((4, 4), int), np.zeros((4, 5), int), "same shape"),
        (np.zeros((4, 4)), np.zeros((4, 4), int), "whole numbers"),
        (np.zeros((4, 4), int), np.full((4, 4), -1), "negative"),
    ],
)
def test_refuses_what_are_no_labels(true, pred, message):
    with pytest.raises(UserError, match=message):
        score_pair(true, pred)


def test_match_centroids_equals_reference():
    true, pred = _centroids("cls_im0", "true").xy, _centroids("cls_im0", "pred").xy
    answer = ANSWERS["pair_coordinates_im0_r12"]
    pairs = match_centroids(true, pred)
    assert pairs.tolist() == answer["pairing"]
    assert sorted(set(range(len(true))) - set(pairs[:, 0])) == answer["unpairedA"]
    assert cdist(true, pred)[pairs[:, 0], pairs[:, 1]].max() <= 12


def _type_scores(images, types):
    """Scores of types of one data set that holds every image once."""
    scores = score_types([count_types(true, pred, types) for true, pred in images], np.ones((1, 4)))
    return {key: values[0].tolist() for key, values in scores.items()}


def test_score_types_equals_reference(typed_images):
    answer = ANSWERS["cls_4images_types1-4"]
    scores = _type_scores(typed_images, [1, 2, 3, 4])
    assert scores["f1d"] == answer["F1d"]
    assert scores["accuracy"] == answer["acc"]
    assert scores["f1"] == list(answer["F1_type"].values())


def test_score_types_counts_an_empty_image_as_the_reference_does(typed_images):
    answer = ANSWERS["cls_4images_types_from_gt"]["values"]
    scores = _type_scores(typed_images, [0, 1, 2, 3, 4])
    assert [scores["f1d"], scores["accuracy"], *scores["f1"]] == answer


def test_type_that_is_nowhere_annotated_has_no_f1():
    """Predicted or not: the reference scores the types that the annotation has."""
    true, pred = (Centroids(np.zeros((1, 2)), np.array([kind])) for kind in (1, 2))
    f1 = score_types([count_types(true, pred, [1, 2, 3])], np.ones((1, 1)))["f1"]
    np.testing.assert_equal(f1, [[0, np.nan, np.nan]])


def test_image_that_weighs_twice_counts_twice(typed_images):
    counts = [count_types(true, pred, [1, 2, 3, 4]) for true, pred in typed_images]
    weighted = score_types(counts, [[2, 0, 1, 1], [0, 0, 0, 0]])
    listed = score_types([counts[0], counts[0], *counts[2:]], np.ones((1, 4)))
    for key in ("f1d", "accuracy", "f1"):
        np.testing.assert_array_equal(weighted[key][0], listed[key][0])
        assert np.isnan(weighted[key][1]).all()


def _panoptic(image):
    """Labels and types from PanNuke's stack of one plane per type."""
    sides = []
    for side in ("true", "pred"):
        stack = ARRAYS[f"pannuke_{side}"][image, ..., :5].astype(int)
        stack = np.where(stack, stack + 100 * np.arange(1, 6), 0)
        labels = stack.max(axis=-1)
        sides.append((labels, {int(label): int(label) // 100 for label in np.unique(labels)[1:]}))
    (true, true_types), (pred, pred_types) = sides
    return score_panoptic(true, pred, true_types, pred_types, TYPES)


@pytest.mark.parametrize("image", range(8))
def test_score_panoptic_equals_pannuke(image):
    answer = ANSWERS["pannuke_8images"]["per_image"][image]
    bpq, pq = _panoptic(image)
    np.testing.assert_equal(bpq, _number(answer["bPQ"]))
    np.testing.assert_equal(pq.tolist(), [_number(pq) for pq in answer["classPQ"]])


def test_mean_panoptic_equals_pannuke():
    answer = ANSWERS["pannuke_8images"]["printed"]
    tissues = ARRAYS["pannuke_types"].tolist()
    names = list(dict.fromkeys(tissues))
    assert set(names) == {"Breast", "Colon", "Liver", "Skin"}
    weights = [[1] * 8, *([name == tissue for tissue in tissues] for name in names)]
    scores = mean_panoptic([_panoptic(i) for i in range(8)], tissues, weights)
    expected = [answer["Average bPQ"], *(answer[f"{name} PQ binary"] for name in names)]
    np.testing.assert_allclose(scores["bpq"], expected, rtol=1e-12)
    expected = [answer["Average mPQ"], *(answer[f"{name} PQ"] for name in names)]
    np.testing.assert_allclose(scores["mpq"], expected, rtol=1e-12)
    types = ["Neoplastic", "Inflammatory", "Connective", "Dead", "Non-Neoplastic"]
    expected = [answer[f"{name} PQ"] for name in types]
    np.testing.assert_allclose(scores["pq"][0], expected, rtol=1e-12)


def test_score_panoptic_refuses_a_label_without_type():
    labels = np.array([[0, 3]])
    with pytest.raises(UserError, match="Label 3 has no type"):
        score_panoptic(labels, labels, {3: 1}, {}, TYPES)


def test_mean_iou_by_hand():
    # Class 0: 1 of 3 pixels shared, class 1: 1 of 2, class 4: 1 of 2; 2 and 3 are nowhere.
    true, pred = np.array([0, 0, 1, 1, 4]), np.array([0, 4, 1, 0, 4])
    assert mean_iou(true, pred) == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert mean_iou(true, true) == 1


def test_weighted_f1_by_hand():
    # F1 of class 0: 2·1 / (3 + 1), of 1: 2·1 / (1 + 2), of 4: 2·1 / (1 + 2); weights 3, 1, 1.
    true, pred = np.array([0, 0, 1, 0, 4]), np.array([0, 4, 1, 1, 4])
    assert weighted_f1(true, pred) == pytest.approx((3 * 1 / 2 + 2 / 3 + 2 / 3) / 5)
    assert weighted_f1(true, true) == 1
    assert weighted_f1(np.zeros(4, int), np.ones(4, int)) == 0
