"""Geometric augmentation: flips, scale, rotation, shear, elastic deformation."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor


@dataclass(frozen=True)
class Elastic:
    """Elastic deformation: noise, smoothed by a Gaussian, moves the pixels (Simard et al. 2003).

    Attributes
    ----------
    p : float
        Probability that a patch is deformed.
    alpha : float
        Highest factor of the noise, pixels; each patch draws its own from 0 on.
    sigma : float
        Standard deviation of the Gaussian, pixels.
    """

    p: float = 0.3
    alpha: float = 20
    sigma: float = 5

    @property
    def reach(self) -> float:
        """Farthest that a pixel moves along an axis; six standard deviations of the field."""
        return self.alpha / self.sigma

    def field(self, batch: int, side: int, device: torch.device) -> Tensor:
        """Draw random displacements.

        Parameters
        ----------
        batch : int
            Number of fields, B.
        side : int
            Side of the fields, pixels.
        device : torch.device
            Where to.

        Returns
        -------
        Tensor
            Float32 (B, side, side, 2): displacement of every pixel, x and y, in pixels.
        """
        # smooth noise needs no more detail than this, and a wide Gaussian would be slow
        step = max(round(self.sigma / 4), 1)
        sigma = self.sigma / step
        radius = math.ceil(3 * sigma)
        shape = (batch, 2, *2 * [math.ceil(side / step) + 2 * radius])
        alpha = torch.rand(batch, 1, 1, 1, device=device) * self.alpha / step
        noise = alpha * (2 * torch.rand(shape, device=device) - 1)
        smooth = gaussian_blur2d(noise, 2 * radius + 1, (sigma, sigma))
        smooth = smooth[..., radius:-radius, radius:-radius]
        moved = F.interpolate(smooth, (side, side), mode="bilinear", align_corners=False)
        return moved.clamp(-self.reach, self.reach).movedim(1, -1)


@dataclass(frozen=True)
class Geometry:
    """A random warp.

    Attributes
    ----------
    scale : tuple of 2 float
        Least and highest enlargement, drawn evenly on a logarithmic scale.
    rotation : float
        Highest angle to either side, degrees.
    shear : float
        Highest angle to either side, degrees, along the horizontal axis.
    flip : bool
        Whether each axis is mirrored in half of the patches.
    elastic : Elastic or None
        Elastic deformation, if any.
    """

    scale: tuple[float, float] = (1, 1)
    rotation: float = 0
    shear: float = 0
    flip: bool = False
    elastic: Elastic | None = None

    def reach(self, side: int) -> int:
        """Return how far from the centre a warped square needs pixels, along an axis.

        Parameters
        ----------
        side : int
            Side of the square, pixels.
        """
        stretch = (1 + math.tan(math.radians(self.shear))) / self.scale[0]
        corner = math.sqrt(2) if self.rotation else 1
        moved = self.elastic.reach if self.elastic else 0
        return math.ceil(side / 2 * stretch * corner + moved)

    def grid(self, batch: int, side: int, device: torch.device) -> Tensor:
        """Draw warps.

        Parameters
        ----------
        batch : int
            How many.
        side : int
            Side of the squares that are to be filled, pixels.
        device : torch.device
            Where to.

        Returns
        -------
        Tensor
            Float32 (B, side, side, 2): x and y, in pixels from the centre of what it is to be
            filled from.
        """
        steps = torch.arange(side, device=device) - (side - 1) / 2
        xy = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
        grid = torch.einsum("yxi,bji->byxj", xy, self._matrices(batch, device))
        if self.elastic:
            # drawn on the CPU, so that the GPU need not be waited for
            chosen = torch.nonzero(torch.rand(batch) < self.elastic.p)[:, 0]
            if len(chosen):
                grid[chosen.to(device)] += self.elastic.field(len(chosen), side, device)
        return grid

    def _matrices(self, batch: int, device: torch.device) -> Tensor:
        """Draw affine maps (B, 2, 2) from a patch to what it is filled from."""
        low, high = map(math.log, self.scale)
        zoom = torch.exp(low + (high - low) * torch.rand(batch, device=device))
        angle, slope = (
            math.radians(limit) * (2 * torch.rand(batch, device=device) - 1)
            for limit in (self.rotation, self.shear)
        )
        one, zero = torch.ones_like(angle), torch.zeros_like(angle)
        rotation = _matrix(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
        shear = _matrix(one, slope.tan(), zero, one)
        mirror = torch.ones(batch, 1, 2, device=device)
        if self.flip:
            mirror = 1 - 2 * torch.randint(2, (batch, 1, 2), device=device)
        return rotation @ shear * mirror / zoom[:, None, None]


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)


def warp_images(images: Tensor, grid: Tensor) -> Tensor:
    """Fill patches from crops, interpolating bilinearly.

    Parameters
    ----------
    images : (B, S, S, 3) Tensor of uint8
    grid : (B, P, P, 2) Tensor of float
        As by `Geometry.grid`.

    Returns
    -------
    Tensor
        Float (B, 3, P, P) in [0, 1].
    """
    source = images.movedim(-1, 1).contiguous().float()
    grid = (grid * 2 / images.shape[1]).contiguous()
    return F.grid_sample(source, grid, padding_mode="border", align_corners=False) / 255


def warp_labels(labels: Tensor, grid: Tensor) -> Tensor:
    """Fill patches from crops with the nearest pixel's whole number.

    Parameters
    ----------
    labels : (B, S, S) Tensor of int
        Of any size: no number is rounded on the way.
    grid : (B, P, P, 2) Tensor of float
        As by `Geometry.grid`.

    Returns
    -------
    Tensor
        (B, P, P), of the type of `labels`.
    """
    side = labels.shape[-1]
    x, y = (grid + (side - 1) / 2).round().long().unbind(-1)
    return labels.flatten(1).gather(1, (y * side + x).flatten(1)).view(x.shape)
