from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops

from napari_nucleus.augment import PatchSampler, StainJitter, appearance
from napari_nucleus.centroids import centroids
from napari_nucleus.datasets import UNKNOWN, Sample
from napari_nucleus.targets import hv_targets
from tests.tissue import TYPES, Tissue, tissue


def sample_of(made: Tissue, name: str = "a", dataset: str = "made") -> Sample:
    types = np.array([0, *(TYPES.index(kind) + 1 for kind in made.types)], np.uint8)
    doubtful = np.zeros(len(types), bool)
    return Sample(name, dataset, made.coded(), made.labels, types, doubtful, 0.25)


@pytest.fixture(scope="module")
def sampler() -> PatchSampler:
    return PatchSampler([sample_of(tissue(200, 240, 1))], {"made": 1}, patch=64, scale=1.3)


def test_targets_stay_on_their_pixels(sampler: PatchSampler) -> None:
    """The red channel tells what is nucleus and of which type, however the patch is turned."""
    batch = sampler.draw(8, np.random.default_rng(0))
    red = batch.images[:, 0] * 255
    assert batch.images.shape == (8, 3, 64, 64)
    nucleus = (red < 128)[batch.seen]
    assert (nucleus == (batch.np > 0)[batch.seen]).float().mean() > 0.97
    inner = (batch.np > 0) & (batch.images[:, 0] < 42 / 255)
    assert ((red < 20)[inner] == (batch.tp == 1)[inner]).float().mean() > 0.95
    assert torch.equal(batch.tp > 0, batch.np > 0)


def test_distance_maps_are_those_of_the_turned_nuclei() -> None:
    """They rise to the right and down in the patch, not in the image that it was cut from."""
    disc = np.hypot(*(np.mgrid[:30, :30] - 14.5)) < 10
    discs = Tissue(
        np.kron(np.arange(1, 65).reshape(8, 8), disc).astype(np.int32), np.array(["dark"] * 64)
    )
    sampler = PatchSampler([sample_of(discs)], {"made": 1}, patch=64, scale=1.3)
    batch = sampler.draw(8, np.random.default_rng(1))
    rises = []
    for hv, mask in zip(batch.hv.numpy(), batch.np.numpy() > 0, strict=True):
        assert not hv[:, ~mask].any()
        for y, x in (region.coords.T for region in regionprops(label(mask)) if region.area > 100):
            rises += [
                np.polyfit(axis, plane[y, x], 1)[0] for plane, axis in zip(hv, (x, y), strict=True)
            ]
    assert len(rises) > 40
    # a disc of radius r rises by 1 / r a pixel
    assert 0.9 / (10 * 1.3) < min(rises) < max(rises) < 1.1 / (10 / 1.3)


def test_whole_image_unturned_has_its_own_targets() -> None:
    made = tissue(96, 96, 2)
    sampler = PatchSampler([sample_of(made)], {"made": 1}, patch=32, scale=1)
    image, labels, _, _ = sampler._patch(0, Straight())
    assert image.shape == (3, 64, 64)
    expected = made.labels[16:80, 16:80]
    assert np.array_equal(labels.numpy(), expected)
    assert np.array_equal((image * 255).round().byte().movedim(0, -1), made.coded()[16:80, 16:80])
    assert torch.equal(hv_targets(labels[None]), hv_targets(torch.from_numpy(expected)[None]))


class Straight(np.random.Generator):
    """Draws the middle of every interval, and no angle."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low=0.0, high=1.0, size=None):
        return 0.0 if low == 0 else (low + high) / 2

    def choice(self, a, *args, **kwargs):
        return a[-1] if isinstance(a, tuple) else 0

    def random(self, *args, **kwargs):
        return 1.0


def test_pixels_outside_of_the_image_do_not_count() -> None:
    sampler = PatchSampler([sample_of(tissue(40, 40, 1))], {"made": 1}, patch=96, scale=1)
    batch = sampler.draw(4, np.random.default_rng(0))
    seen = batch.seen.float().mean((1, 2))
    assert seen.numpy() == pytest.approx(40 * 40 / 96**2, rel=0.1)
    assert not (batch.shaped | batch.typed)[~batch.seen].any()


def test_unknown_types_and_doubtful_shapes_are_marked() -> None:
    whole = sample_of(tissue(200, 240, 1))
    unknown = np.where(np.arange(len(whole.types)) > 0, UNKNOWN, 0).astype(np.uint8)
    doubtful = np.arange(len(whole.types)) > 0
    sample = Sample("a", "made", whole.image, whole.labels, unknown, doubtful, 0.25)
    batch = PatchSampler([sample], {"made": 1}, 64, 1.2).draw(4, np.random.default_rng(0))
    assert torch.equal(batch.typed, batch.seen & (batch.np == 0))
    assert torch.equal(batch.shaped, batch.typed)
    assert not batch.tp.any()


def test_rare_types_are_drawn_more_often() -> None:
    made = tissue(500, 500, 3)
    kinds = np.array(["dark"] * len(made.types))
    kinds[:4] = "pale"
    sample = sample_of(Tissue(made.labels, kinds))
    _, pale = centroids(np.where(made.labels <= 4, made.labels, 0))

    def share_at_pale(sample: Sample) -> float:
        sampler = PatchSampler([sample], {"made": 1}, patch=64, scale=1)
        rng = np.random.default_rng(0)
        drawn = np.array([sampler._centre(0, rng) for _ in range(1000)])
        return float((np.abs(drawn[:, None] - pale).max(2).min(1) <= 16).mean())

    untyped = replace(sample, types=np.where(sample.types > 0, UNKNOWN, 0).astype(np.uint8))
    assert share_at_pale(sample) > 2 * share_at_pale(untyped)


def test_datasets_are_drawn_by_their_share() -> None:
    samples = [sample_of(tissue(100, 100, 1), "a", "x"), sample_of(tissue(50, 100, 2), "b", "x")]
    samples.append(sample_of(tissue(300, 300, 3), "c", "y"))
    weights = PatchSampler(samples, {"x": 3, "y": 1}, 64, 1).weights
    assert weights.tolist() == pytest.approx([0.5, 0.25, 0.25])


def test_numbers_alone_decide_on_a_batch(sampler: PatchSampler) -> None:
    one, two, other = (sampler.draw(3, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(one.images, two.images)
    assert not torch.equal(one.images, other.images)


def test_stain_jitter_without_jitter_changes_nothing() -> None:
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(
        StainJitter(0, 0, 0)(images), images.clamp(min=1 / 255), atol=1e-5, rtol=0
    )


def test_stain_jitter_scales_the_stains() -> None:
    """On pure haematoxylin only its amount may change: the colour keeps its direction."""
    jitter = StainJitter(scale=0.4, shift=0, turn=0)
    density = jitter.stains[0].view(1, 3, 1, 1) * torch.linspace(0.2, 1, 8).view(1, 1, 1, 8)
    torch.manual_seed(0)
    jittered = -torch.log(jitter(torch.exp(-density).expand(20, 3, 1, 8)))
    factors = (jittered / density).flatten(1)
    assert (factors.std(1) < 1e-4).all()
    assert 0.6 <= factors.min() < 0.75 < 1.25 < factors.max() <= 1.4


def test_appearance_changes_colours_and_nothing_else() -> None:
    torch.manual_seed(0)
    images = torch.from_numpy(tissue(64, 64, 1).stained() / np.float32(255)).movedim(-1, 0)
    batch = images.expand(8, 3, 64, 64).clone()
    changed = appearance()(batch)
    assert changed.shape == batch.shape
    assert changed.isfinite().all()
    assert (changed - batch).abs().mean((1, 2, 3)).min() > 0.01
    dark = images.mean(0) < 0.55
    assert (changed.mean(1)[:, dark].mean(1) < changed.mean(1)[:, ~dark].mean(1)).all()
