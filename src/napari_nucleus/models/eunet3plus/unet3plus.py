"""The parts of U-Net 3+: full-scale skips, and convolutions with an activation by name.

Paper: Huang et al. "UNet 3+: a full-scale connected UNet for medical image segmentation",
ICASSP 2020.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "swish": nn.SiLU,
    "glu": lambda: nn.GLU(dim=1),
}
"""Activations by name; a gated linear unit halves the channels that it is given."""


def conv_unit(channels: int, out: int, activation: str = "relu") -> nn.Sequential:
    """Build a 3x3 convolution with batch normalisation and an activation.

    Parameters
    ----------
    channels : int
        Channels of the input.
    out : int
        Channels of the output.
    activation : str
        A key of `ACTIVATIONS`.

    Returns
    -------
    nn.Sequential
        The layers.
    """
    wide = 2 * out if activation == "glu" else out
    return nn.Sequential(
        nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), ACTIVATIONS[activation]()
    )


class MaxBlurPool(nn.Module):
    """Halve a map: maximum of 2x2, then a 3x3 binomial blur (Zhang 2019), free of aliasing."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(F.max_pool2d(x, 2), (1, 1, 1, 1), mode="replicate")
        return F.avg_pool2d(F.avg_pool2d(x, 2, 1), 2, 1)  # two means of 2x2 are binomial


class Encoder(nn.Module):
    """Five levels of two convolutions each, finest first.

    Parameters
    ----------
    widths : sequence of int
        Channels of the levels.
    activation : str
        A key of `ACTIVATIONS`.
    """

    def __init__(self, widths: Sequence[int], activation: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(conv_unit(before, width, activation), conv_unit(width, width, activation))
            for before, width in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.pool = MaxBlurPool()

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for i, level in enumerate(self.levels):
            x = level(self.pool(x) if i else x)
            features.append(x)
        return features


class Node(nn.Module):
    """A level of the decoder: every other level at this one's size, and a convolution over all.

    Parameters
    ----------
    level : int
        Its number, 0 the finest.
    channels : sequence of int
        Of what comes from every level, finest first.
    skip : int
        Channels that each is brought to.
    """

    def __init__(self, level: int, channels: Sequence[int], skip: int) -> None:
        super().__init__()
        self.level = level
        self.skips = nn.ModuleList(conv_unit(width, skip) for width in channels)
        self.fuse = conv_unit(skip * len(channels), skip * len(channels))

    def forward(self, features: list[Tensor]) -> Tensor:
        here = features[self.level]
        size = (here.shape[-2], here.shape[-1])
        pairs = zip(self.skips, features, strict=True)
        parts = [skip(_resized(x, i - self.level, size)) for i, (skip, x) in enumerate(pairs)]
        return self.fuse(torch.cat(parts, 1))


class Decoder(nn.Module):
    """Four nodes from coarse to fine, and logits of every level, deepest too.

    Parameters
    ----------
    widths : sequence of int
        Channels of the encoder's levels.
    skip : int
        Channels of every full-scale skip.
    outputs : int
        Channels of the logits.
    """

    def __init__(self, widths: Sequence[int], skip: int, outputs: int) -> None:
        super().__init__()
        levels, wide = len(widths), skip * len(widths)
        decoded = [wide] * (levels - 1) + [widths[-1]]
        self.nodes = nn.ModuleList(
            Node(i, [*widths[: i + 1], *decoded[i + 1 :]], skip) for i in range(levels - 1)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, outputs, 3, padding=1) for width in decoded)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the finest level, and the logits of each at its own size, finest first.

        While not training, of the finest alone: the others are supervision.

        Parameters
        ----------
        features : list of Tensor
            (B, C, h, w) of each level, finest first.

        Returns
        -------
        finest
            (B, C, H, W).
        logits
            (B, outputs, h, w) of each level while training, else of the finest.
        """
        features = list(features)
        for i, node in reversed(list(enumerate(self.nodes))):
            features[i] = node(features)
        heads = self.heads if self.training else self.heads[:1]
        return features[0], [head(x) for head, x in zip(heads, features, strict=False)]


def _resized(x: Tensor, coarser: int, size: tuple[int, int]) -> Tensor:
    """Bring a map that is so many levels coarser to a size."""
    if coarser < 0:
        return F.max_pool2d(x, 2**-coarser)
    return F.interpolate(x, size, mode="bilinear") if coarser else x
