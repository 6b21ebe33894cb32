from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from napari_nucleus.augment import PatchSampler
from napari_nucleus.augment.sampler import dominant_types, grid
from napari_nucleus.datasets import Sample
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from tests.tissue import tissue


def sample_of(name: str, *types: int, dataset: str = "made", side: int = 16) -> Sample:
    """An image with a nucleus of 2 × 2 pixels per type, in a row of its own each."""
    labels = np.zeros((side, side), np.int32)
    for i in range(len(types)):
        labels[3 * i : 3 * i + 2, 4:6] = i + 1
    index = np.array([0, *types], np.uint8)
    image = np.full((side, side, 3), 200, np.uint8)
    return Sample(name, dataset, image, labels, index, np.zeros(len(index), bool), 0.25)


def drawn(sampler: PatchSampler, count: int = 4000) -> Counter[str]:
    names = Counter(sampler.draw(range(count), step=3, seed=5).names)
    return Counter({name.partition("/")[2]: number for name, number in names.items()})


def assert_drawn(sampler: PatchSampler, shares: dict[str, float]) -> None:
    """Hold what is drawn against shares, by the chi-square test at 1 in 10,000."""
    names, total = drawn(sampler), sum(shares.values())
    assert set(names) <= set(shares)
    expected = {name: 4000 * share / total for name, share in shares.items()}
    chi_square = sum((names[name] - e) ** 2 / e for name, e in expected.items() if e)
    assert chi_square < {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5}[len(shares) - 1]


@pytest.mark.parametrize("shape", [(100, 64), (33, 32), (32, 32), (200, 201)])
def test_grid_covers_an_image(shape: tuple[int, int]) -> None:
    corners = grid(shape, 32)
    covered = np.zeros(shape, bool)
    for y, x in corners:
        assert 0 <= y <= shape[0] - 32
        assert 0 <= x <= shape[1] - 32
        covered[y : y + 32, x : x + 32] = True
    assert covered.all()
    for axis in corners.T:
        assert np.diff(np.unique(axis)).max(initial=0) <= 16


def test_small_image_lies_in_the_middle_of_a_patch() -> None:
    assert grid((20, 40), 32).tolist() == [[-6, 0], [-6, 8]]
    small = replace(sample_of("a", 1), image=np.full((16, 16, 3), 7, np.uint8))
    crops = PatchSampler([small], {"made": 1}, 20, margin=3).draw([0], 0, 0)
    assert crops.images.shape == (1, 26, 26, 3)
    assert (crops.images == 7).all()
    outside = np.ones((26, 26), bool)
    outside[5:21, 5:21] = False
    labels = crops.labels[0].numpy()
    assert np.array_equal(labels == -1, outside)
    assert np.array_equal(labels[5:21, 5:21], small.labels)


def test_dominant_type_is_that_of_most_nuclei() -> None:
    made = tissue(150, 170, 2)
    rng = np.random.default_rng(0)
    types = rng.choice([1, 2, 3, UNKNOWN], len(made.types) + 1).astype(np.uint8)
    types[0] = 0
    labels = np.where(made.labels == 5, 0, made.labels)  # numbers may be missing
    sample = replace(sample_of("a"), labels=labels, types=types)
    corners = grid(labels.shape, 40)
    found = dominant_types(sample, corners, 40)
    ids = np.unique(labels[labels > 0])
    xy = np.array(center_of_mass(labels > 0, labels, ids))[:, ::-1]
    for (y, x), dominant in zip(corners, found, strict=True):
        # a pixel more or less of the patch: the middle of a nucleus is that of its box, here
        counts = []
        for slack in (-1.5, 1.5):
            offset = xy - (x, y)
            inside = ((offset >= -slack) & (offset < 40 + slack)).all(1)
            counts.append([np.sum(types[ids[inside]] == t) for t in (1, 2, 3)])
        least, most = counts
        if dominant:
            assert most[dominant - 1] >= max(least)
        else:
            assert not any(least)
    assert {1, 2, 3} <= set(found.tolist())


def test_patch_without_known_type_has_no_dominant_type() -> None:
    gone = replace(sample_of("a", 1), labels=np.zeros((16, 16), np.int32))
    for sample in (sample_of("a"), sample_of("a", UNKNOWN, UNKNOWN), gone):
        assert dominant_types(sample, grid((16, 16), 8), 8).tolist() == [0] * 9


def test_images_are_drawn_by_area_and_datasets_by_share() -> None:
    samples = [
        sample_of("small", 1, dataset="x"),
        sample_of("large", 2, dataset="x", side=32),
        sample_of("other", 1, dataset="y", side=40),
    ]
    sampler = PatchSampler(samples, {"x": 3, "y": 1}, 16, "random")
    assert_drawn(sampler, {"small": 3 / 5, "large": 12 / 5, "other": 1})


def test_given_weights_multiply_and_others_stay() -> None:
    samples = [sample_of("common", 1), sample_of("rare", 2, 2, 1), sample_of("mixed", 3, 1, 1)]
    sampler = PatchSampler(samples, {"made": 1}, 16, "type_aware", {2: 4.0})
    assert_drawn(sampler, {"common": 1, "rare": 4, "mixed": 1})


def test_types_weigh_by_their_rarity_up_to_twenty() -> None:
    common = [sample_of(f"common{i}", *[1] * 5) for i in range(12)]
    samples = [*common, sample_of("rarer", *[2] * 5, 2), sample_of("rarest", 3)]
    sampler = PatchSampler(samples, {"made": 1}, 16)
    # 60 nuclei of the first type, 6 of the second, and one of the third
    assert sampler.weights[12] / sampler.weights[0] == pytest.approx(10)
    assert sampler.weights[13] / sampler.weights[0] == pytest.approx(20)
    assert sampler.weights.sum() == pytest.approx(1)


def test_uniform_draws_every_dominant_type_equally_often() -> None:
    samples = [
        sample_of("one", 1),
        sample_of("two", 1, side=24),
        sample_of("three", 2),
        sample_of("empty"),
    ]
    sampler = PatchSampler(samples, {"made": 1}, 16, "uniform")
    for name in ("random", "uniform"):
        weights = PatchSampler(samples, {"made": 1}, 16, name).weights
        # a patch without a nucleus comes as often as at random
        assert weights[sampler.image == 3].sum() == pytest.approx(1 / (3 + 2.25))
    by_type = [sampler.weights[sampler.dominant == t].sum() for t in (1, 2)]
    assert by_type[0] == pytest.approx(by_type[1])
    two = sampler.weights[sampler.image == 1].sum()
    assert_drawn(
        sampler,
        {
            "one": sampler.weights[0],
            "two": two,
            "three": by_type[1],
            "empty": 1 / 5.25,
        },
    )


def test_dataset_without_types_keeps_its_share_and_is_unweighted() -> None:
    samples = [
        sample_of("typed", 1, dataset="x"),
        sample_of("rare", 2, dataset="x"),
        sample_of("untyped", UNKNOWN, dataset="y"),
        sample_of("empty", dataset="y"),
    ]
    sampler = PatchSampler(samples, {"x": 1, "y": 1}, 16, "type_aware", {2: 9.0})
    assert_drawn(sampler, {"typed": 0.1, "rare": 0.9, "untyped": 0.5, "empty": 0.5})


def test_dataset_without_a_share_is_never_drawn() -> None:
    samples = [sample_of("a", 1, dataset="x"), sample_of("b", 1, dataset="y")]
    assert drawn(PatchSampler(samples, {"x": 0, "y": 2}, 16), 100) == {"b": 100}
    with pytest.raises(UserError, match="no patch to draw: give a dataset"):
        PatchSampler(samples, {"x": 0, "y": 0}, 16)


def test_ignored_background_is_neither_drawn_nor_learned() -> None:
    """Nuclei that are annotated in it are."""
    ignored = np.zeros((16, 32), bool)
    ignored[:, 8:] = True
    labels = np.zeros((16, 32), np.int32)
    labels[4:8, 10:14] = 1
    base = sample_of("a", 1)
    half = replace(base, image=np.zeros((16, 32, 3), np.uint8), labels=labels, ignored=ignored)
    blank = replace(sample_of("b", dataset="blank"), ignored=np.ones((16, 16), bool))
    sampler = PatchSampler([half, blank], {"made": 1, "blank": 1}, 16, jitter=False)
    seen = np.array([8 * 16 + 4 * 4, 4 * 4, 0, 0])
    np.testing.assert_allclose(sampler.weights, seen / seen.sum())
    crops = sampler.draw(range(40), 0, 0)
    assert set(crops.names) == {"made/a"}
    expected = np.where(ignored & (labels == 0), -1, labels)
    found = {crop.tobytes() for crop in crops.labels.numpy()}
    assert found == {expected[:, x : x + 16].tobytes() for x in (0, 8)}
    with pytest.raises(UserError, match="annotated"):
        PatchSampler([blank], {"blank": 1}, 16)


@pytest.fixture(scope="module")
def textured() -> PatchSampler:
    made = tissue(90, 120, 4)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    types = np.ones(len(made.types) + 1, np.uint8)
    sample = Sample("a", "made", image, made.labels, types, np.zeros(len(types), bool), 0.25)
    return PatchSampler([sample], {"made": 1}, 32, margin=5)


def test_batch_may_be_shared_out_in_any_way(textured: PatchSampler) -> None:
    whole = textured.draw(range(8), step=7, seed=3)
    for split in ([[0, 2, 4, 6], [1, 3, 5, 7]], [[7, 6, 5], [0, 1, 2, 3, 4]]):
        for items in split:
            part = textured.draw(items, step=7, seed=3)
            assert torch.equal(part.images, whole.images[items])
            assert torch.equal(part.labels, whole.labels[items])
    for step, seed in ((8, 3), (7, 4)):
        assert not torch.equal(textured.draw(range(8), step, seed).images, whole.images)


def test_crops_are_cut_from_their_image_at_any_place(textured: PatchSampler) -> None:
    """The random pixels tell the place; within a quarter of a patch of the grid."""
    (sample,) = textured.samples
    padded = np.pad(sample.image, ((5, 5), (5, 5), (0, 0)), mode="edge")
    labels = np.pad(sample.labels, 5, constant_values=-1)
    crops = textured.draw(range(60), step=0, seed=0)
    places = set()
    for image, label in zip(crops.images.numpy(), crops.labels.numpy(), strict=True):
        match = np.argwhere((padded[:-41, :-41] == image[0, 0]).all(-1))
        places_here = [
            (y, x)
            for y, x in match.tolist()
            if np.array_equal(padded[y : y + 42, x : x + 42], image)
        ]
        assert len(places_here) == 1
        y, x = places_here[0]
        assert np.array_equal(labels[y : y + 42, x : x + 42], label)
        places.add((y, x))
    ys, xs = np.array(sorted(places)).T
    assert len(places) > 45
    assert ys.min() < 6
    assert ys.max() > 90 - 32 - 6
    assert xs.min() < 6
    assert xs.max() > 120 - 32 - 6


def test_without_jitter_crops_keep_to_the_grid(textured: PatchSampler) -> None:
    sampler = PatchSampler(textured.samples, {"made": 1}, 32, jitter=False)
    image = textured.samples[0].image
    expected = {image[y : y + 32, x : x + 32].tobytes() for y, x in grid((90, 120), 32)}
    found = {crop.tobytes() for crop in sampler.draw(range(200), 0, 0).images.numpy()}
    assert found <= expected
    assert len(found) > 0.9 * len(expected)
