"""Training patches: drawn from samples, turned, scaled, restained and blurred, in batches."""

import math
from dataclasses import dataclass

import kornia.augmentation as K
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_nucleus.centroids import centroids
from napari_nucleus.datasets import UNKNOWN, Sample
from napari_nucleus.stain import STAINS
from napari_nucleus.targets import hv_targets

_CONTEXT = 16
"""Pixels around a patch in which its nuclei are seen whole before their centroids are taken."""


@dataclass
class Batch:
    """Patches and what the network should say of them.

    Attributes
    ----------
    images
        Float (B, 3, P, P) in [0, 1].
    np
        Int (B, P, P), 1 inside nuclei.
    hv
        Float (B, 2, P, P), distance maps.
    tp
        Int (B, P, P), type index; 0 is background.
    seen
        Bool (B, P, P), pixels that lie in the image.
    shaped
        Bool (B, P, P), pixels whose shape (`hv`) can be trusted.
    typed
        Bool (B, P, P), pixels whose type is known.
    """

    images: Tensor
    np: Tensor
    hv: Tensor
    tp: Tensor
    seen: Tensor
    shaped: Tensor
    typed: Tensor


class PatchSampler:
    """Draws patches at any place, angle and scale from annotated images.

    Datasets are drawn by their share, images by their area. In images with types every other patch
    is centred on a nucleus whose type is drawn by the inverse square root of its frequency, so that
    rare types are seen.

    Parameters
    ----------
    samples
        Annotated images at one resolution.
    shares
        Dataset name to its share of the patches.
    patch
        Side of a patch in pixels.
    scale
        Patches are enlarged by a factor between 1 / scale and scale.
    """

    def __init__(
        self, samples: list[Sample], shares: dict[str, float], patch: int, scale: float
    ) -> None:
        self.samples = samples
        self.patch = patch
        self.scale = scale
        areas: dict[str, int] = {}
        for sample in samples:
            areas[sample.dataset] = areas.get(sample.dataset, 0) + sample.labels.size
        weights = [shares[s.dataset] * s.labels.size / areas[s.dataset] for s in samples]
        self.weights = np.array(weights) / sum(weights)
        self.centres = [centroids(sample.labels) for sample in samples]
        counts = np.zeros(UNKNOWN + 1)
        for sample, (ids, _) in zip(samples, self.centres, strict=True):
            counts += np.bincount(sample.types[ids], minlength=len(counts))
        self.rarity = 1 / np.sqrt(np.maximum(counts, 1))
        self.rarity[UNKNOWN] = 0

    def draw(self, batch: int, rng: np.random.Generator) -> Batch:
        """Draw a batch of `batch` patches with their targets."""
        patches = [
            self._patch(int(rng.choice(len(self.samples), p=self.weights)), rng)
            for _ in range(batch)
        ]
        images, labels, types, doubtful = (torch.stack(x) for x in zip(*patches, strict=True))
        hv = hv_targets(labels.clamp(min=0))
        inner = slice(_CONTEXT, -_CONTEXT)
        labels, types, doubtful = (x[:, inner, inner] for x in (labels, types, doubtful))
        seen = labels >= 0
        return Batch(
            images=images[..., inner, inner],
            np=(labels > 0).long(),
            hv=hv[..., inner, inner],
            tp=torch.where(types == UNKNOWN, 0, types).long(),
            seen=seen,
            shaped=seen & ~doubtful,
            typed=seen & (types != UNKNOWN),
        )

    def _patch(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        sample = self.samples[index]
        side = self.patch + 2 * _CONTEXT
        zoom = self.scale ** rng.uniform(-1, 1)
        angle = rng.uniform(0, 2 * math.pi)
        flip = rng.choice((-1.0, 1.0))
        cx, cy = self._centre(index, rng)
        reach = math.ceil(side / zoom / math.sqrt(2)) + 2
        x0, y0 = int(cx) - reach, int(cy) - reach
        window = (slice(max(y0, 0), int(cy) + reach), slice(max(x0, 0), int(cx) + reach))
        image = torch.from_numpy(sample.image[window] / np.float32(255)).movedim(-1, 0)[None]
        # labels count from 1 while they are warped, so that 0 is outside of the image
        labels = torch.from_numpy(sample.labels[window] + 1)[None, None].float()
        height, width = labels.shape[-2:]
        steps = (torch.arange(side) - (side - 1) / 2) / zoom
        v, u = torch.meshgrid(steps, steps, indexing="ij")
        u = u * flip
        x = math.cos(angle) * u - math.sin(angle) * v + cx - window[1].start
        y = math.sin(angle) * u + math.cos(angle) * v + cy - window[0].start
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)[None]
        image = F.grid_sample(image, grid, padding_mode="border", align_corners=False)[0]
        label = F.grid_sample(labels, grid, mode="nearest", align_corners=False)[0, 0].long() - 1
        nucleus = label.clamp(min=0)
        types = torch.from_numpy(sample.types)[nucleus]
        doubtful = torch.from_numpy(sample.doubtful)[nucleus]
        return image, label, types, doubtful

    def _centre(self, index: int, rng: np.random.Generator) -> tuple[float, float]:
        ids, points = self.centres[index]
        weights = self.rarity[self.samples[index].types[ids]]
        if weights.sum() > 0 and rng.random() < 0.5:
            x, y = points[rng.choice(len(points), p=weights / weights.sum())]
            jitter = self.patch / 4
            return x + rng.uniform(-jitter, jitter), y + rng.uniform(-jitter, jitter)
        height, width = self.samples[index].labels.shape
        room = min(self.patch / 2 / self.scale, width / 2, height / 2)
        return rng.uniform(room, width - room), rng.uniform(room, height - room)


class StainJitter(nn.Module):
    """Restain H&E images: scale and shift each stain, and turn the stains' colours a little.

    After Tellez et al. 2018 (HED augmentation), with the stain vectors themselves perturbed as
    well, since laboratories differ in dyes and scanners as much as in staining time.

    Parameters
    ----------
    scale
        Each stain is multiplied by a factor within 1 ± `scale`.
    shift
        and shifted within ± `shift` of optical density.
    turn
        Standard deviation of the noise on the stain vectors.
    """

    stains: Tensor

    def __init__(self, scale: float = 0.4, shift: float = 0.03, turn: float = 0.06) -> None:
        super().__init__()
        self.scale = scale
        self.shift = shift
        self.turn = turn
        self.register_buffer("stains", torch.tensor(STAINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        density = -torch.log(images.clamp(min=1 / 255))
        amounts = torch.einsum("bchw,cs->bshw", density, torch.linalg.inv(self.stains))
        factor = 1 + self.scale * (2 * torch.rand(batch, 3, 1, 1, device=device) - 1)
        offset = self.shift * (2 * torch.rand(batch, 3, 1, 1, device=device) - 1)
        stains = self.stains + self.turn * torch.randn(batch, 3, 3, device=device)
        stains = F.normalize(stains.clamp(min=0), dim=2) * self.stains.norm(dim=1)[None, :, None]
        density = torch.einsum("bshw,bsc->bchw", amounts * factor + offset, stains)
        return torch.exp(-density).clamp(0, 1)


def appearance() -> nn.Module:
    """Return the augmentation of colours and sharpness, for float (B, 3, H, W) in [0, 1]."""
    return nn.Sequential(
        StainJitter(),
        K.ColorJiggle(brightness=0.12, contrast=0.25, saturation=0.25, hue=0.03, p=0.8),
        K.RandomGamma(gamma=(0.7, 1.4), p=0.4),
        K.RandomGaussianBlur((5, 5), (0.2, 1.2), p=0.3),
        K.RandomGaussianNoise(std=0.02, p=0.3),
    )
