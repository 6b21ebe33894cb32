from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy.ndimage import convolve
from torch import Tensor, nn

from napari_nucleus.augment.appearance import Coarsen, Compress, Noise, Sharpen, Sometimes


class Paint(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, self.value)


def test_sometimes_changes_as_many_as_it_should_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    images = torch.zeros(3000, 1, 1, 1)
    values = Sometimes(0.3, Paint(1), Paint(2))(images).flatten()
    shares = [(values == value).float().mean().item() for value in (0, 1, 2)]
    # four standard deviations of a binomial distribution
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=4 * (0.21 / 3000) ** 0.5)
    assert not images.any()


def test_noise_is_as_strong_as_it_should_be() -> None:
    torch.manual_seed(0)
    images = torch.full((200, 3, 32, 32), 0.5)
    noise = Noise(0.025)(images) - images
    stds = noise.flatten(1).std(1)
    assert 0 < stds.min() < 0.003 < 0.022 < stds.max() < 0.026
    assert stds.mean() == pytest.approx(0.0125, abs=0.002)
    channels = noise[stds.argmax()].flatten(1)
    assert torch.corrcoef(channels).fill_diagonal_(0).abs().max() < 0.15


def at_most(factor: float, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(torch, "rand", torch.ones)
    return Sharpen(factor)(images)


def test_sharpening_is_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(90, 160, (24, 24, 3)).astype(np.uint8)
    expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(pixels)).enhance(2.5))
    image = torch.from_numpy(pixels / np.float32(255)).movedim(-1, 0)[None]
    found = at_most(2.5, image, monkeypatch)[0].movedim(0, -1).numpy() * 255
    assert np.abs(found - expected).max() <= 2.5


def test_papers_sharpening_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """imgaug blends 0.2 of a kernel of eight times -1 around 9 into the image."""
    pixels = np.random.default_rng(0).uniform(0.4, 0.6, (1, 1, 20, 20)).astype(np.float32)
    kernel = np.full((3, 3), -1.0)
    kernel[1, 1] = 9
    expected = 0.8 * pixels[0, 0] + 0.2 * convolve(pixels[0, 0], kernel)
    found = at_most(1 + 13 * 0.2, torch.from_numpy(pixels), monkeypatch)[0, 0].numpy()
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)


def test_coarse_images_keep_their_means_and_lose_detail() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 40, 50)
    coarse = Coarsen(0.5)(images)
    assert coarse.shape == images.shape
    torch.testing.assert_close(coarse.mean((2, 3)), images.mean((2, 3)), atol=0.01, rtol=0)
    assert coarse.std() < 0.9 * images.std()
    torch.testing.assert_close(Coarsen(1)(images), images)


def test_compression_is_that_of_pillow() -> None:
    torch.manual_seed(0)
    smooth = torch.rand(3, 3, 6, 6)
    images = torch.nn.functional.interpolate(smooth, (48, 48), mode="bicubic").clamp(0, 1)
    seen = Compress(95)(images)
    assert seen.shape == images.shape
    for image, own in zip(images, seen, strict=True):
        pixels = image.mul(255).round().byte().movedim(0, -1).numpy()
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        other = np.asarray(Image.open(file), np.float32)
        np.testing.assert_allclose(own.movedim(0, -1).numpy() * 255, other, atol=4)
    assert (Compress(10)(images) - images).abs().mean() > (seen - images).abs().mean()
