import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_nucleus.augment import AUGMENTATIONS, PatchSampler, create_augmentation
from napari_nucleus.datasets import Sample
from napari_nucleus.errors import UserError
from napari_nucleus.models.batch import Batch, Crops
from napari_nucleus.nucleus_types import UNKNOWN
from tests.tissue import TYPES, Tissue, distances, tissue

PAPER = ("none", "basic", "moderate", "strong", "full")


def sample_of(made: Tissue, image: np.ndarray) -> Sample:
    types = np.array([0, *(TYPES.index(kind) + 1 for kind in made.types)], np.uint8)
    return Sample("a", "made", image, made.labels, types, np.zeros(len(types), bool), 0.25)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    made = tissue(220, 240, 1)
    return [sample_of(made, made.stained())]


def augmented(samples: list[Sample], name: str, patch: int = 64, count: int = 6) -> Batch:
    augment = create_augmentation(name, patch)
    sampler = PatchSampler(samples, {"made": 1}, patch, margin=augment.margin)
    torch.manual_seed(0)
    return augment(sampler.draw(range(count), step=0, seed=0))


@pytest.mark.parametrize("patch", [64, 75])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_nuclei_stay_under_their_labels(samples: list[Sample], name: str, patch: int) -> None:
    """They are darker than what is around them, whatever the colours."""
    batch = augmented(samples, name, patch)
    assert batch.images.shape == (6, 3, patch, patch)
    assert batch.images.dtype == torch.float32
    assert batch.hv.shape == (6, 2, patch, patch)
    assert {of.shape for of in (batch.np, batch.tp, batch.seen, batch.labels)} == {
        (6, patch, patch)
    }
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    for image, nucleus, seen in zip(batch.images, batch.np == 1, batch.seen, strict=True):
        gray = image.mean(0)
        threshold = (gray[nucleus & seen].median() + gray[~nucleus & seen].median()) / 2
        assert ((gray < threshold) == nucleus)[seen].float().mean() > 0.93


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_labels_types_and_masks_agree(samples: list[Sample], name: str) -> None:
    batch = augmented(samples, name)
    assert torch.equal(batch.np == 1, batch.labels > 0)
    types = torch.from_numpy(samples[0].types)[batch.labels.long()]
    assert torch.equal(batch.tp, types.long())
    assert not batch.np[~batch.seen].any()
    assert torch.equal(batch.seen, batch.shaped)
    assert torch.equal(batch.seen, batch.typed)
    assert batch.names == ("made/a",) * 6


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_distance_maps_are_those_of_the_warped_nuclei(samples: list[Sample], name: str) -> None:
    batch = augmented(samples, name)
    whole = 0
    for labels, hv in zip(batch.labels.numpy(), batch.hv.numpy(), strict=True):
        frame = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        inner = (labels > 0) & ~np.isin(labels, frame)
        np.testing.assert_allclose(hv[:, inner], distances(labels)[:, inner], atol=1e-4)
        assert not hv[:, labels == 0].any()
        whole += len(np.unique(labels[inner]))
    assert whole >= 5


def test_nuclei_at_the_edge_are_measured_whole() -> None:
    """And without augmentation, a patch is the middle of what was cut, to the bit."""
    augment = create_augmentation("none", 70)
    side = 70 + 2 * augment.margin
    made = tissue(side, side, 3)
    sample = sample_of(made, made.stained())
    sampler = PatchSampler([sample], {"made": 1}, side, jitter=False)
    batch = augment(sampler.draw([0], 0, 0))
    inner = slice(augment.margin, -augment.margin)
    assert np.array_equal(batch.labels[0].numpy(), made.labels[inner, inner])
    pixels = (batch.images[0] * 255).round().byte().movedim(0, -1).numpy()
    assert np.array_equal(pixels, sample.image[inner, inner])
    expected = distances(made.labels)[:, inner, inner]
    np.testing.assert_allclose(batch.hv[0].numpy(), expected, atol=1e-4)
    alone = distances(made.labels[inner, inner])
    assert np.abs(alone - expected).max() > 0.5


def test_labels_survive_whatever_their_number(samples: list[Sample]) -> None:
    made = samples[0]
    number = 20_000_000 + 3 * np.arange(len(made.types), dtype=np.int32)
    number[0] = 0
    augment = create_augmentation("full", 64)
    crops = PatchSampler(samples, {"made": 1}, 64, margin=augment.margin).draw(range(3), 0, 0)
    torch.manual_seed(0)
    expected = augment(crops)
    labels = np.where(crops.labels < 0, -1, number[crops.labels.clamp(min=0)]).astype(np.int32)
    # a table as long as the highest number is too long: all nuclei are of one type
    table = torch.zeros(1, dtype=torch.uint8).expand(3, int(number.max()) + 1)
    torch.manual_seed(0)
    batch = augment(Crops(crops.images, torch.from_numpy(labels), table, table.bool(), crops.names))
    assert np.array_equal(batch.labels.numpy(), number[expected.labels.numpy()])
    assert torch.equal(batch.hv, expected.hv)


@pytest.mark.parametrize(("less", "more"), list(itertools.pairwise(PAPER)))
def test_each_strategy_of_the_paper_holds_the_one_before(less: str, more: str) -> None:
    one, other = AUGMENTATIONS[less], AUGMENTATIONS[more]
    assert one != other
    assert other.appearance[: len(one.appearance)] == one.appearance
    for field in ("rotation", "shear", "flip"):
        assert getattr(one.geometry, field) <= getattr(other.geometry, field)
    assert other.geometry.scale[0] <= one.geometry.scale[0]
    assert one.geometry.scale[1] <= other.geometry.scale[1]
    assert one.geometry.elastic in (None, other.geometry.elastic)
    assert one.jitter <= other.jitter


@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("basic", False),
        ("moderate", True),
        ("strong", True),
        ("full", True),
        ("any_lab", True),
        ("foreign_lab", True),
    ],
)
def test_only_some_change_colours(samples: list[Sample], name: str, colours: bool) -> None:
    plain, changed = augmented(samples, "basic"), augmented(samples, name)
    histograms = [np.percentile(of.images.numpy(), range(5, 100, 10)) for of in (plain, changed)]
    assert (np.abs(histograms[0] - histograms[1]).max() > 0.004) == colours


def test_seed_decides_on_the_batch_to_the_bit(samples: list[Sample]) -> None:
    augment = create_augmentation("full", 64)
    crops = PatchSampler(samples, {"made": 1}, 64, margin=augment.margin).draw(range(6), 0, 0)
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(augment(crops))
    for key, value in vars(batches[0]).items():
        if key != "names":
            assert torch.equal(value, vars(batches[1])[key])
    assert not torch.equal(batches[0].labels, batches[2].labels)


def test_pixels_outside_of_the_image_do_not_count() -> None:
    made = tissue(40, 40, 1)
    batch = augmented([sample_of(made, made.stained())], "basic", 96)
    seen = batch.seen.float().mean((1, 2))
    assert seen.numpy() == pytest.approx(40 * 40 / 96**2, rel=0.25)
    assert not (batch.shaped | batch.typed)[~batch.seen].any()


def test_unknown_types_and_doubtful_shapes_are_marked(samples: list[Sample]) -> None:
    """Of some nuclei the type, of others the shape."""
    types, doubtful = samples[0].types.copy(), samples[0].doubtful.copy()
    types[1::3] = UNKNOWN
    doubtful[2::3] = True
    batch = augmented([replace(samples[0], types=types, doubtful=doubtful)], "moderate")
    untyped, unshaped = (batch.labels % 3 == 1), (batch.labels % 3 == 2)
    assert untyped.any()
    assert unshaped.any()
    assert torch.equal(batch.typed, batch.seen & ~untyped)
    assert torch.equal(batch.shaped, batch.seen & ~unshaped)
    assert not batch.tp[untyped].any()
    assert batch.tp[batch.typed & (batch.np == 1)].all()


def test_crops_must_be_large_enough(samples: list[Sample]) -> None:
    crops = PatchSampler(samples, {"made": 1}, 64, margin=20).draw([0], 0, 0)
    with pytest.raises(ValueError, match="margin"):
        create_augmentation("full", 64)(crops)


def test_unknown_augmentation_is_told() -> None:
    with pytest.raises(UserError, match="no augmentation 'strnog': did you mean 'strong'"):
        create_augmentation("strnog", 64)
    with pytest.raises(UserError, match="known are none, basic"):
        create_augmentation("qqq", 64)
