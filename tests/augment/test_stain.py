import numpy as np
import torch
from skimage.color import rgb2hed, rgb2lab

from napari_nucleus.augment.stain import StainFade, StainJitter, StainMix
from napari_nucleus.models.stain_normalization import StainNormalization
from tests.tissue import tissue


def stained(count: int = 1) -> torch.Tensor:
    images = [tissue(48, 48, i).stained(i) for i in range(count)]
    return torch.from_numpy(np.stack(images) / np.float32(255)).movedim(-1, 1)


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


def test_haematoxylin_and_eosin_change_apart_and_nothing_else_does() -> None:
    """Seen by scikit-image's stain separation, whose unit is ln(10^6)."""
    torch.manual_seed(0)
    images = stained().clamp(0.05, 0.95).expand(40, -1, -1, -1)
    changed = StainJitter(0.05, 8 / 255, 0, residual=False)(images)
    unit = np.log(1e6)
    before, after = (
        rgb2hed(of.movedim(1, -1).double().numpy()).reshape(40, -1, 3) * unit
        for of in (images[:1].expand(40, -1, -1, -1), changed)
    )
    # where scikit-image finds negative amounts, it says 0
    both = (before > 0.05).all(2) & (after > 0.01).all(2)
    fits = np.array(
        [
            [np.polyfit(b[ok, stain], a[ok, stain], 1) for stain in range(3)]
            for b, a, ok in zip(before, after, both, strict=True)
        ]
    )
    factor, shift = fits[..., 0], fits[..., 1]
    assert 0.949 < factor[:, :2].min() < 0.96 < 1.04 < factor[:, :2].max() < 1.051
    assert np.abs(shift[:, :2]).max() < 8.1 / 255
    assert np.abs(shift[:, :2]).max() > 7 / 255
    assert abs(np.corrcoef(factor[:, 0], factor[:, 1])[0, 1]) < 0.4
    np.testing.assert_allclose(factor[:, 2], 1, atol=1e-3)
    np.testing.assert_allclose(shift[:, 2], 0, atol=1e-3)


def test_normalized_tissue_is_alike() -> None:
    """Differently lit and stained images get one mean and spread in scikit-image's CIELAB."""
    images = stained(3)
    images = torch.stack([images[0] * 0.8, images[1] ** 1.5, images[2] * 0.7 + 0.1])
    normalize = StainNormalization()
    for image in normalize(images).movedim(1, -1).numpy():
        lab = rgb2lab(image)
        np.testing.assert_allclose(lab.mean((0, 1)), normalize.mean, atol=1)
        np.testing.assert_allclose(lab.std((0, 1)), normalize.std, atol=2)


def test_glass_changes_nothing() -> None:
    """Neither alone, nor in the statistics of the tissue beside it."""
    glass = torch.full((1, 3, 48, 48), 0.95) + 0.002 * torch.randn(1, 3, 48, 48)
    normalize = StainNormalization()
    assert torch.equal(normalize(glass), glass)
    tissue = 0.8 * stained()
    beside = normalize(torch.cat([tissue, glass], 3))[..., :48]
    torch.testing.assert_close(beside, normalize(tissue), atol=1e-4, rtol=0)


def test_contrast_changes_by_half_at_most() -> None:
    flat = torch.full((1, 3, 32, 32), 0.6) + 0.02 * torch.randn(1, 1, 32, 32)
    before, after = (
        rgb2lab(of[0].movedim(0, -1).numpy()) for of in (flat, StainNormalization()(flat))
    )
    assert 1.4 < after[..., 0].std() / before[..., 0].std() < 1.6


def moments(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    density = -torch.log(images.clamp(min=1 / 255)).flatten(2)
    centred = density - density.mean(2, keepdim=True)
    return density.mean(2), centred @ centred.mT / centred.shape[2]


def test_mixing_stains_goes_towards_another_image_of_the_batch() -> None:
    """Mean and covariance of density lie between the image's own and the other's."""
    torch.manual_seed(0)
    images = stained(2).clamp(0.05, 0.95)
    (first, second), (own, other) = moments(images)
    shares = []
    for _ in range(40):
        changed = StainMix(p=1, stretch=100)(images)[:1]
        mean, covariance = (of[0] for of in moments(changed))
        share = ((mean - first) @ (second - first) / (second - first).square().sum()).item()
        torch.testing.assert_close(mean, torch.lerp(first, second, share), atol=0.02, rtol=0)
        if share > 0.9:
            assert (covariance - other).norm() < 0.3 * (own - other).norm()
        shares.append(share)
    assert min(shares) > -0.01
    assert max(shares) > 0.9


def test_mixing_stains_leaves_some_images_as_they_are() -> None:
    torch.manual_seed(0)
    images = stained(3).repeat(200, 1, 1, 1)[:, :, :8, :8]
    same = (StainMix(p=0.3)(images) == images).flatten(1).all(1).float().mean()
    # of those that should change, a few are their own partner
    assert 0.65 < same < 0.76
    alone = images[:1]
    torch.testing.assert_close(StainMix(p=1)(alone), alone.clamp(min=1 / 255), atol=1e-4, rtol=0)


def test_mixing_stains_with_flat_images_stays_finite() -> None:
    torch.manual_seed(0)
    flat = torch.stack([torch.zeros(3, 16, 16), torch.ones(3, 16, 16), torch.rand(3, 16, 16)])
    for _ in range(10):
        changed = StainMix(p=1)(flat)
        assert changed.isfinite().all()
        assert 0 <= changed.min() <= changed.max() <= 1


def test_fading_bleaches_tints_and_browns() -> None:
    torch.manual_seed(0)
    images = stained().clamp(0.05, 0.95).expand(40, -1, -1, -1)
    paler = StainFade(least=0.35, brown=0, tint=0)(images)
    factors = (torch.log(paler) / torch.log(images)).flatten(1)
    assert (factors.std(1) < 1e-3).all()
    assert 0.35 <= factors.min() < 0.45 < 0.9 < factors.max() <= 1.001
    veiled = StainFade(least=1, brown=0, tint=0.12)(torch.ones(40, 3, 4, 4))
    assert 0.88 < veiled.min() < 0.92 < 0.98 < veiled.max() <= 1
    fade = StainFade(least=1, brown=1, tint=0)
    haematoxylin = torch.exp(-0.5 * fade.stains[0]).view(1, 3, 1, 1).expand(200, -1, -1, -1)
    density = -torch.log(fade(haematoxylin)).flatten(1)
    share = (density - 0.5 * fade.stains[0]) / (0.5 * (fade.stains[2] - fade.stains[0]))
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3), atol=1e-3, rtol=0)
    assert -1e-3 <= share.min() < 0.1 < 0.9 < share.max() <= 1.001
