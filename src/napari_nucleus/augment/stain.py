"""Colours of H&E: other amounts and hues of the stains, and those of other images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_nucleus.measure.stain import STAINS


class StainJitter(nn.Module):
    """Restain H&E images: scale and shift each stain, and turn the stains' colours a little.

    After Tellez et al. 2018 (HED augmentation), with the stain vectors themselves perturbed as
    well, since laboratories differ in dyes and scanners as much as in staining time.

    Parameters
    ----------
    scale : float
        Each stain is multiplied by a factor within 1 ± `scale`.
    shift : float
        and shifted within ± `shift` of optical density.
    turn : float
        Standard deviation of the noise on the stain vectors.
    residual : bool
        Whether what is neither haematoxylin nor eosin is scaled and shifted as well.
    """

    stains: Tensor

    def __init__(
        self, scale: float = 0.4, shift: float = 0.03, turn: float = 0.06, residual: bool = True
    ) -> None:
        super().__init__()
        self.scale = scale
        self.shift = shift
        self.turn = turn
        self.changed = 3 if residual else 2
        self.register_buffer("stains", torch.tensor(STAINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        factor = torch.ones(batch, 3, 1, device=device)
        offset = torch.zeros(batch, 1, 3, device=device)
        drawn = 2 * torch.rand(2, batch, self.changed, device=device) - 1
        factor[:, : self.changed, 0] += self.scale * drawn[0]
        offset[:, 0, : self.changed] += self.shift * drawn[1]
        stains = self.stains + self.turn * torch.randn(batch, 3, 3, device=device)
        stains = F.normalize(stains.clamp(min=0), dim=2) * self.stains.norm(dim=1)[None, :, None]
        # unmixing, changing and mixing again are linear in the density: one matrix an image
        change = torch.linalg.inv(self.stains) @ (factor * stains)
        shift = (offset @ stains).mT
        restained = torch.baddbmm(shift, change.mT, _density(images))
        return _transmitted(restained, images)


class StainMix(nn.Module):
    """Give images the colours of others in their batch, in part.

    A laboratory's colours are taken as the mean and covariance of optical density. The map that
    carries one normal distribution to another at the least cost (the linear Monge-Kantorovich map,
    Pitié & Kokaram 2007) is linear in density; every image goes a random part of the way to that of
    a random other one.

    Parameters
    ----------
    p : float
        Probability that an image is changed.
    stretch : float
        Highest factor by which density is stretched in any direction, and one over the least: what
        a patch holds differs as well as how it was stained.
    """

    def __init__(self, p: float = 0.5, stretch: float = 2.0) -> None:
        super().__init__()
        self.p = p
        self.stretch = stretch

    def forward(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        density = _density(images)
        mean = density.mean(2, keepdim=True)
        centred = density - mean
        covariance = centred @ centred.mT / centred.shape[2]
        covariance = covariance + _LEAST_VARIANCE * torch.eye(3, device=device)
        other = torch.randperm(batch, device=device)
        part = torch.rand(batch, 1, 1, device=device)
        part = part * (torch.rand(batch, 1, 1, device=device) < self.p)
        root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
        change = inverse @ _power(root @ covariance[other] @ root, 0.5) @ inverse
        change = _power(change, 1.0, 1 / self.stretch, self.stretch)
        change = torch.lerp(torch.eye(3, device=device).expand_as(change), change, part)
        restained = torch.baddbmm(torch.lerp(mean, mean[other], part), change, centred)
        return torch.where(part[..., None] > 0, _transmitted(restained, images), images)


class StainFade(nn.Module):
    """Bleach an image, let a stain turn brown, and tint what should be clear.

    Parameters
    ----------
    least : float
        Least factor of density; every image draws its own up to 1.
    brown : float
        Highest share of haematoxylin and of eosin that looks like DAB instead.
    tint : float
        Highest density of each channel's veil over all.
    """

    stains: Tensor

    def __init__(self, least: float = 0.35, brown: float = 0.5, tint: float = 0.12) -> None:
        super().__init__()
        self.least = least
        self.brown = brown
        self.tint = tint
        self.register_buffer("stains", torch.tensor(STAINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        share = self.brown * torch.rand(batch, 3, 1, device=device)
        share[:, 2] = 0
        stains = torch.lerp(self.stains.expand(batch, 3, 3), self.stains[2].expand(3, 3), share)
        factor = 1 - (1 - self.least) * torch.rand(batch, 1, 1, device=device)
        change = factor * (torch.linalg.inv(self.stains) @ stains).mT
        veil = self.tint * torch.rand(batch, 3, 1, device=device)
        return _transmitted(torch.baddbmm(veil, change, _density(images)), images)


_LEAST_VARIANCE = 1e-3
"""Of optical density, in every direction: noise of flat images is not stretched."""


def _density(images: Tensor) -> Tensor:
    """Return the optical density (B, 3, H * W) of images in [0, 1]."""
    return -torch.log(images.clamp(min=1 / 255)).flatten(2)


def _transmitted(density: Tensor, images: Tensor) -> Tensor:
    """Return images, shaped as `images`, of an optical density."""
    return torch.exp(-density).view_as(images).clamp(0, 1)


def _power(matrices: Tensor, exponent: float, least: float = 1e-6, highest: float = 1e6) -> Tensor:
    """Raise symmetric matrices (B, 3, 3) to a power, their eigenvalues kept within limits."""
    values, vectors = torch.linalg.eigh(matrices)
    return vectors * values.clamp(least, highest)[:, None] ** exponent @ vectors.mT
