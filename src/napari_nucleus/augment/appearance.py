"""Photometric augmentation: sharpness, noise, local contrast, compression."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from kornia.enhance import sharpness
from torch import Tensor, nn


class Sometimes(nn.Module):
    """Change an image with probability `p`, by one of several augmentations, drawn evenly.

    The others pass as they are, and cost nothing.

    Parameters
    ----------
    p : float
        Probability.
    *choices : nn.Module
        Modules that take and return float (B, 3, H, W) in [0, 1].
    """

    def __init__(self, p: float, *choices: nn.Module) -> None:
        super().__init__()
        self.p = p
        self.choices = nn.ModuleList(choices)

    def forward(self, images: Tensor) -> Tensor:
        # drawn on the CPU, so that the GPU need not be waited for
        choice = torch.randint(len(self.choices), (len(images),))
        choice[torch.rand(len(images)) >= self.p] = -1
        changed = images.clone()
        for i, change in enumerate(self.choices):
            chosen = torch.nonzero(choice == i)[:, 0].to(images.device)
            if len(chosen):
                changed[chosen] = change(images[chosen])
        return changed


class Noise(nn.Module):
    """Add Gaussian noise, independent in every channel.

    Parameters
    ----------
    std : float
        Highest standard deviation, of images in [0, 1]; every image draws its own from 0 on.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        std = self.std * torch.rand(len(images), 1, 1, 1, device=images.device)
        return (images + std * torch.randn_like(images)).clamp(0, 1)


class Sharpen(nn.Module):
    """Emphasize edges.

    Parameters
    ----------
    factor : float
        Highest factor of what sets a pixel apart from its smoothed neighbourhood, as Pillow's
        ``ImageEnhance.Sharpness`` counts it: 1 changes nothing. Every image draws its own from 1
        on.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return sharpness(images, 1 + (self.factor - 1) * torch.rand(len(images)))


class Coarsen(nn.Module):
    """Lose detail, as a scan at a lower magnification does.

    Parameters
    ----------
    least : float
        Least factor of the resolution; all images of a batch share one between it and 1.
    """

    def __init__(self, least: float) -> None:
        super().__init__()
        self.least = least

    def forward(self, images: Tensor) -> Tensor:
        factor = self.least + (1 - self.least) * torch.rand(()).item()
        height, width = images.shape[-2:]
        size = (max(round(height * factor), 1), max(round(width * factor), 1))
        small = F.interpolate(images, size, mode="bilinear", antialias=True)
        return F.interpolate(small, (height, width), mode="bilinear")


class Compress(nn.Module):
    """Leave the traces of JPEG compression.

    Parameters
    ----------
    least : float
        Least quality, from 0 to 100; every image draws its own up to 95.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.clamp(0, 1).mul(255).round().byte().movedim(1, -1).cpu().numpy()
        qualities = torch.randint(self.least, 96, (len(images),)).tolist()
        seen = []
        for image, quality in zip(pixels, qualities, strict=True):
            _, coded = cv2.imencode(
                ".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
            seen.append(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1])
        back = torch.from_numpy(np.stack(seen)).to(images.device)
        return back.movedim(-1, 1).to(images.dtype) / 255
