import numpy as np
import pytest
import torch
from skimage.measure import label as components

from napari_nucleus.augment.targets import hv_targets
from tests.tissue import distances, tissue


def test_targets_follow_the_definition() -> None:
    labels = np.stack([tissue(90, 120, seed=s).labels for s in (1, 2)])
    found = hv_targets(torch.from_numpy(labels)).numpy()
    assert found.shape == (2, 2, 90, 120)
    for one, maps in zip(labels, found, strict=True):
        np.testing.assert_allclose(maps, distances(one), atol=1e-5)


def test_disc_rises_evenly_from_left_to_right_and_from_top_to_bottom() -> None:
    y, x = np.mgrid[:41, :41] - 20
    disc = (x**2 + y**2 <= 15**2).astype(np.int64)
    horizontal, vertical = hv_targets(torch.from_numpy(disc)[None])[0].numpy()
    np.testing.assert_allclose(horizontal[disc > 0], (x / 15)[disc > 0], atol=1e-6)
    np.testing.assert_allclose(vertical[disc > 0], (y / 15)[disc > 0], atol=1e-6)
    assert not horizontal[disc == 0].any()


def test_every_nucleus_reaches_from_minus_one_to_one() -> None:
    labels = components(tissue(80, 80, seed=3, density=1e-3).labels > 0)
    horizontal, vertical = hv_targets(torch.from_numpy(labels)[None])[0].numpy()
    for number in range(1, labels.max() + 1):
        for plane in (horizontal, vertical):
            assert plane[labels == number].min() == pytest.approx(-1)
            assert plane[labels == number].max() == pytest.approx(1)


def test_numbers_of_nuclei_change_nothing_and_may_repeat_within_a_batch() -> None:
    labels = torch.from_numpy(tissue(60, 60, seed=4).labels)
    once = hv_targets(labels[None])
    assert torch.equal(hv_targets(torch.stack([labels * 7, labels])), torch.cat([once, once]))


def test_single_pixels_and_empty_images() -> None:
    labels = torch.zeros(2, 5, 5, dtype=torch.long)
    labels[1, 2, 2] = 1
    assert torch.equal(hv_targets(labels), torch.zeros(2, 2, 5, 5))
