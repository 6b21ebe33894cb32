import torch

from napari_nucleus.augment.stain import StainJitter


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
