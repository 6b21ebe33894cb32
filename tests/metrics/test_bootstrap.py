import numpy as np
import pytest
from scipy.stats import bootstrap

from napari_nucleus.metrics.bootstrap import bootstrap_ci, interval, resample, weighted_mean

VALUES = np.random.default_rng(0).beta(5, 2, 30)


def test_interval_of_a_mean_agrees_with_scipy() -> None:
    theirs = bootstrap((VALUES,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    ours = bootstrap_ci(VALUES, n=20_000)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1.5e-3)
    assert ours[1] - ours[0] > 0.05


def test_interval_agrees_with_the_normal_one_of_many_images() -> None:
    values = np.random.default_rng(0).normal(0.6, 0.1, 400)
    error = 1.96 * values.std() / np.sqrt(len(values))
    low, high = bootstrap_ci(values, n=4000, seed=1)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=1e-3)


def test_drawn_sets_hold_as_many_images_as_there_are() -> None:
    drawn = resample(7, n=500, seed=4)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)
    assert (drawn == resample(7, n=500, seed=4)).all()
    assert (drawn != resample(7, n=500, seed=5)).any()


def test_weighted_mean_is_the_mean_of_what_was_drawn() -> None:
    values = np.stack([VALUES[:6], VALUES[6:12]], axis=1)
    drawn = resample(6, n=20)
    listed = [values[np.repeat(np.arange(6), row.astype(int))].mean(axis=0) for row in drawn]
    np.testing.assert_allclose(weighted_mean(values, drawn), listed)


def test_undefined_scores_are_left_out() -> None:
    weights = [[1, 1, 1], [0, 2, 1], [0, 3, 0]]
    means = weighted_mean([0.5, np.nan, 0.7], weights)
    np.testing.assert_allclose(means, [0.6, 0.7, np.nan])
    np.testing.assert_allclose(interval(means), np.percentile([0.6, 0.7], [2.5, 97.5]))
    assert np.isnan(interval(np.full((4, 2), np.nan))).all()
    assert bootstrap_ci([0.5, np.nan, 0.7], seed=3) == bootstrap_ci([0.5, 0.7], seed=3)
    assert bootstrap_ci([0.5, np.nan, 0.5]) == (0.5, 0.5)
    np.testing.assert_equal(bootstrap_ci([np.nan]), (np.nan, np.nan))
