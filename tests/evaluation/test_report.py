from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from napari_nucleus.evaluation.report import report
from napari_nucleus.metrics import mean_iou
from napari_nucleus.metrics.aggregate import ImageScore, Nuclei, score_image
from napari_nucleus.metrics.bootstrap import resample
from napari_nucleus.nucleus_types import UNKNOWN
from tests.tissue import TYPES, tissue

SINGLE = ["dice", "dice2", "aji", "aji_plus", "dq", "sq", "pq", "miou", "weighted_f1"]
TYPED = ["f1d", "accuracy", "bpq", "mpq"]


def scored(dataset: str, seed: int, types: int = 2) -> ImageScore:
    """Score an image in which nuclei are shifted, missed and mistaken, the more, the higher."""
    rng = np.random.default_rng(seed)
    made = tissue(90, 90, seed)
    true = np.array([0, *(TYPES.index(kind) + 1 for kind in made.types)])
    labels = np.roll(made.labels, seed, axis=1)
    labels = np.where(np.isin(labels, rng.choice(len(true), seed)), 0, labels)
    pred = np.where(rng.random(len(true)) < 0.1 * seed, 3 - true, true)
    sides = Nuclei(made.labels, true), Nuclei(labels, pred)
    return score_image(dataset, f"im{seed}", *sides, types)


@pytest.fixture(scope="module")
def images() -> list[ImageScore]:
    return [scored("one", i) for i in (1, 2, 3)] + [scored("two", i) for i in (4, 5)]


def by_hand(images: list[ImageScore]) -> dict[str, float]:
    """Scores of a list of images, in plain words."""
    of = {key: float(np.mean([image.scores[key] for image in images])) for key in SINGLE}
    types = [image.types for image in images if image.types]
    counts = [one.counts for one in types]
    matched, alone = sum(c.matched for c in counts), sum(c.unmatched for c in counts)
    of["f1d"] = 2 * matched / (2 * matched + alone)
    of["accuracy"] = sum(c.correct for c in counts) / matched
    for key, each in (
        ("bpq", [one.panoptic[0] for one in types]),
        ("mpq", [float(np.nanmean(one.panoptic[1])) for one in types]),
    ):
        by_dataset: dict[str, list[float]] = {}
        for image, value in zip(images, each, strict=True):
            by_dataset.setdefault(image.dataset, []).append(value)
        of[key] = float(np.mean([np.mean(some) for some in by_dataset.values()]))
    for i, name in enumerate(TYPES):
        right, mistaken, unmatched = (
            sum(getattr(c, part)[i] for c in counts) for part in ("right", "mistaken", "alone")
        )
        of[f"f1 {name}"] = 2 * right / (2 * right + 2 * mistaken + unmatched)
        of[f"pq {name}"] = float(np.nanmean([one.panoptic[1][i] for one in types]))
    return of


def flat(found: dict) -> dict[str, Any]:
    """Return the scores of a report, or the ends of their intervals, under one name each."""
    of = {key: found[key] for key in (*SINGLE, *TYPED)}
    for name, scores in found["per_class"].items():
        of |= {f"f1 {name}": scores["f1"], f"pq {name}": scores["pq"]}
    return of


def test_scores_and_intervals_are_those_of_sets_drawn_one_by_one(images: list[ImageScore]) -> None:
    found = report(images, TYPES)
    assert flat(found) == pytest.approx(by_hand(images), rel=1e-9)
    drawn = pd.DataFrame(
        by_hand([images[i] for i in np.repeat(np.arange(5), row.astype(int))])
        for row in resample(5)
    )
    ends = {**found["ci95"], "per_class": {k: v["ci95"] for k, v in found["per_class"].items()}}
    for key, interval in flat(ends).items():
        assert interval == pytest.approx(np.percentile(drawn[key], [2.5, 97.5]), rel=1e-9), key
        assert interval[0] < found.get(key, drawn[key].mean()) < interval[1], key


def test_interval_agrees_with_scipy(images: list[ImageScore]) -> None:
    pq = [image.scores["pq"] for image in images]
    theirs = bootstrap((pq,), np.mean, n_resamples=5000, method="percentile", rng=0)
    ours = report(images, TYPES)["ci95"]["pq"]
    assert ours == pytest.approx(list(theirs.confidence_interval), abs=0.15 * float(np.std(pq)))


def test_every_dataset_is_reported_as_if_alone(images: list[ImageScore]) -> None:
    found = report(images, TYPES)
    assert list(found["per_dataset"]) == ["one", "two"]
    for name, part in (("one", images[:3]), ("two", images[3:])):
        alone = report(part, TYPES)
        assert found["per_dataset"][name] == {
            key: value for key, value in alone.items() if key[:4] != "per_" or key == "per_class"
        }
        assert flat(alone) == pytest.approx(by_hand(part), rel=1e-9)


def test_every_image_is_reported_as_if_alone(images: list[ImageScore]) -> None:
    rows = report(images, TYPES)["per_image"]
    assert [row["name"] for row in rows] == ["im1", "im2", "im3", "im4", "im5"]
    for row, image in zip(rows, images, strict=True):
        expected = by_hand([image])
        assert {key: row[key] for key in (*SINGLE, *TYPED)} == pytest.approx(
            {key: expected[key] for key in (*SINGLE, *TYPED)}
        )
        assert row["f1"] == pytest.approx({name: expected[f"f1 {name}"] for name in TYPES})


def test_images_without_types_count_for_the_rest(images: list[ImageScore]) -> None:
    found = report([*images, scored("three", 6, types=0)], TYPES)
    typed = report(images, TYPES)
    assert {key: found[key] for key in TYPED} == {key: typed[key] for key in TYPED}
    assert found["per_class"]["dark"]["annotated"] == typed["per_class"]["dark"]["annotated"]
    assert found["pq"] < typed["pq"]
    assert "f1" not in found["per_dataset"]["three"]
    assert np.isnan(found["per_image"][-1]["f1d"])


def test_nothing_annotated_and_something_found() -> None:
    """Nuclei where there are none are too many, if types are annotated in that set at all."""
    empty, full = np.zeros((2, 30, 30), int)
    full[5:15, 5:15] = 1
    nothing, one = Nuclei(empty, np.array([0])), Nuclei(full, np.array([0, 1]))
    right = score_image("d", "right", one, one, types=2)
    extra = score_image("d", "extra", nothing, one, types=2)
    both = report([right, extra], TYPES)
    # the reference counts a side without nuclei as one nucleus of no type
    assert both["f1d"] == pytest.approx(2 * 1 / (2 * 1 + 2))
    assert both["f1"]["dark"] == pytest.approx(2 * 1 / (2 * 1 + 1))
    assert np.isnan(both["f1"]["pale"])
    assert both["per_class"]["dark"] | {"ci95": {}} == {
        "annotated": 1,
        "predicted": 2,
        "f1": pytest.approx(2 / 3),
        "pq": pytest.approx(1, abs=1e-5),
        "ci95": {},
    }
    assert both["bpq"] == both["mpq"] == pytest.approx(1, abs=1e-5)
    assert both["pq"] == pytest.approx(0.5, abs=1e-5)
    assert "f1" not in report([extra], TYPES)


def test_undefined_scores_are_left_out_of_means() -> None:
    empty, full = np.zeros((2, 20, 20), int)
    full[5:15, 5:15] = 1
    nothing, one = Nuclei(empty, np.array([0])), Nuclei(full, np.array([0, 1]))
    images = [
        score_image("d", "found", one, one),
        score_image("d", "missed", one, nothing),
        score_image("d", "empty", nothing, nothing),
    ]
    found = report(images, [])
    assert (found["dice"], found["aji"]) == (0.5, 1)
    assert found["ci95"]["aji"] == [1, 1]
    np.testing.assert_equal([row["aji"] for row in found["per_image"]], [1, np.nan, np.nan])
    np.testing.assert_equal([row["pq"] > 0.9 for row in found["per_image"]], [True, False, False])


def test_iou_is_of_types_where_they_are_known() -> None:
    true, pred = np.zeros((2, 20, 40), int)
    true[5:15, 5:15], true[5:15, 25:35] = 1, 2
    pred[5:15, 5:15], pred[5:15, 20:35] = 1, 2
    kinds = np.array([0, 1, 2])
    typed = score_image("d", "x", Nuclei(true, kinds), Nuclei(pred, kinds), types=2)
    assert typed.scores["miou"] == pytest.approx((550 / 600 + 1 + 100 / 150) / 3)
    partly = np.array([0, 1, UNKNOWN])
    known = score_image("d", "x", Nuclei(true, partly), Nuclei(pred, kinds), types=2)
    assert known.scores["miou"] == pytest.approx((550 / 600 + 1 + 0) / 3)
    untyped = score_image("d", "x", Nuclei(true, kinds), Nuclei(pred, kinds))
    assert (
        untyped.scores["miou"]
        == mean_iou(true > 0, pred > 0)
        == pytest.approx((550 / 600 + 200 / 250) / 2)
    )


def test_what_lies_in_ignored_areas_does_not_count() -> None:
    true, pred = np.zeros((2, 20, 60), int)
    true[5:15, 5:15] = 1
    pred[5:15, 5:15], pred[5:15, 28:38], pred[5:15, 45:55] = 1, 2, 3
    ignored = np.zeros((20, 60), bool)
    ignored[:, 30:] = True
    sides = Nuclei(true, np.array([0, 1])), Nuclei(pred, np.array([0, 1, 1, 1]))
    everywhere = score_image("d", "x", *sides, types=1)
    partly = score_image("d", "x", *sides, types=1, ignored=ignored)
    assert everywhere.scores["dq"] == pytest.approx(2 * 1 / (2 * 1 + 2))
    assert partly.scores["dq"] == partly.scores["dice"] == partly.scores["miou"] == 1
    assert everywhere.types is not None
    assert partly.types is not None
    assert (everywhere.types.counts.unmatched, partly.types.counts.unmatched) == (2, 0)


def test_of_a_nucleus_partly_ignored_the_rest_counts() -> None:
    true, pred = np.zeros((2, 20, 40), int)
    pred[5:15, 10:22] = 1
    ignored = np.zeros((20, 40), bool)
    ignored[:, 20:] = True
    sides = Nuclei(true, np.array([0])), Nuclei(pred, np.array([0, 1]))
    scores = score_image("d", "x", *sides, ignored=ignored).scores
    assert scores["miou"] == pytest.approx((1 - 100 / 400 + 0) / 2)


def test_panoptic_quality_is_averaged_over_tissues() -> None:
    true, pred = np.zeros((2, 30, 60), int)
    true[5:15, 5:15], true[5:15, 25:35] = 1, 2
    pred[5:15, 5:15] = 1
    both = Nuclei(true, np.array([0, 1, 1]))
    half = Nuclei(pred, np.array([0, 1]))
    images = [
        score_image("PanNuke", str(i), both, found, types=1, tissue=tissue)
        for i, (tissue, found) in enumerate([("Breast", both), ("Breast", both), ("Colon", half)])
    ]
    found = report(images, ["a"])
    assert found["bpq"] == found["mpq"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-5)
    assert found["per_class"]["a"]["pq"] == pytest.approx((1 + 1 + 2 / 3) / 3, abs=1e-5)
