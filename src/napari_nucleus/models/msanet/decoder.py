"""MSA-Net's fusion of ViT and CLIP, and its decoder with feature volumes.

See `napari_nucleus.models.msanet` for the paper and for what was settled.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from napari_nucleus.models.pooling import FEATURE_STRIDE

STRIDES = (16, 8, 4, 2)
"""Pixels per cell of the decoder's four stages, and of their volumes."""

_POOLS = (2, 4)
"""Sides of a volume's pools in its own cells: fixed, so that a place does not know the tile's size.
"""

_LAYER_SCALE = 0.1
"""With which residual branches begin, as CaiT has it for networks of this depth."""


class Fusion(nn.Module):
    """Joins four depths of the ViT, or the last alone, with what CLIP says of the same patches.

    Parameters
    ----------
    width, clip_width : int
        Channels of the ViT's and of CLIP's features.
    multi : bool
        Whether each depth is fused; else the last one serves for all four.
    """

    def __init__(self, width: int, clip_width: int, multi: bool) -> None:
        super().__init__()
        self.multi = multi
        both = width + clip_width
        self.scales = nn.ModuleList(
            nn.Sequential(LayerNorm2d(both), nn.Conv2d(both, width, 1), nn.GELU())
            for _ in range(4 if multi else 1)
        )

    def forward(self, taps: list[Tensor], clip: Tensor) -> list[Tensor]:
        """Fuse the features of the ViT and of CLIP.

        Parameters
        ----------
        taps : list of Tensor
            (B, C, h, w) of four depths of the ViT.
        clip : (B, D, h, w) Tensor of float
            CLIP's features of the same patches.

        Returns
        -------
        list of Tensor
            v1 to v4, (B, C, h, w) each.
        """
        taps = taps if self.multi else taps[-1:]
        fused = [
            tap + fuse(torch.cat([tap, clip], 1))
            for tap, fuse in zip(taps, self.scales, strict=True)
        ]
        return fused if self.multi else fused * 4


class ConvNeXtBlock(nn.Module):
    """7x7 depth-wise convolution, layer norm, two 3x3 convolutions, layer scale, residual.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 7, padding=3, groups=width),
            LayerNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.scale = nn.Parameter(torch.full((width, 1, 1), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


class FeatureVolume(nn.Module):
    """Fuses v_i and x_i, the two slices of a volume, with the coarser volume.

    Slices lie one after the other on the batch axis, (2 B, C, h, w), and the 3x3x3 convolution
    looks at each beside the one before and the one after: the same numbers as of `nn.Conv3d`, in
    the memory layout in which convolutions of images are fast.

    Parameters
    ----------
    v_width, x_width : int
        Channels of the two.
    width : int
        Channels of the volume.
    times : int
        By which x_i is finer than v_i.
    """

    def __init__(self, v_width: int, x_width: int, width: int, times: int) -> None:
        super().__init__()
        self.lift_v = nn.ConvTranspose2d(v_width, width, times, times)
        self.lift_x = nn.Conv2d(x_width, width, 1)
        self.convolution = nn.Conv2d(3 * width, width, 3, padding=1)
        self.pyramid = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in _POOLS)

    def forward(self, v: Tensor, x: Tensor, coarser: Tensor | None) -> Tensor:
        """Fuse v_i, x_i and the coarser volume.

        Parameters
        ----------
        v : (B, V, h, w) Tensor of float
            v_i.
        x : (B, X, t h, t w) Tensor of float
            x_i, t times as fine.
        coarser : (2 B, C, h', w') Tensor of float or None
            The coarser volume, where there is one.

        Returns
        -------
        (2 B, C, t h, t w) Tensor of float
            The volume.
        """
        first, second = self.lift_v(v), self.lift_x(x)
        volume = torch.cat([first, second])
        size = volume.shape[-2:]
        if coarser is not None:
            volume = volume + F.interpolate(coarser, size, mode="bilinear")
        first, second = volume.chunk(2)
        nothing = torch.zeros_like(first)
        before, after = torch.cat([nothing, first]), torch.cat([second, nothing])
        volume = F.gelu(self.convolution(torch.cat([before, volume, after], 1)))
        fused = volume
        for pool, convolution in zip(_POOLS, self.pyramid, strict=True):
            level = convolution(F.avg_pool2d(volume, pool, ceil_mode=True))
            fused = fused + F.interpolate(level, size, mode="bilinear")
        return fused


class Decoder(nn.Module):
    """Four stages of ConvNeXt blocks from v4, four feature volumes, 1x1 convolutions over all.

    Parameters
    ----------
    v_width : int
        Channels of v1 to v4.
    widths, depths : tuple of int
        Channels and blocks of the stages.
    volume : int
        Channels of the feature volumes.
    out_channels : int
        Channels of the map.
    """

    def __init__(
        self,
        v_width: int,
        widths: tuple[int, ...],
        depths: tuple[int, ...],
        volume: int,
        out_channels: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(v_width, widths[0], 3, padding=1), LayerNorm2d(widths[0])
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(above, below, 1) for above, below in pairwise(widths))
        self.norm = LayerNorm2d(widths[-1])
        self.volumes = nn.ModuleList(
            FeatureVolume(v_width, width, volume, STRIDES[0] // stride)
            for width, stride in zip(widths, STRIDES, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(volume, out_channels, 1) for _ in STRIDES)

    def forward(self, vs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode fused features.

        Parameters
        ----------
        vs : list of Tensor
            v1 to v4, (B, C, h, w) at stride 16.

        Returns
        -------
        logits
            (B, out_channels, 8 h, 8 w).
        volumes
            Four, (B, C, h, w) to (B, C, 8 h, 8 w), their depth averaged.
        """
        x = self.stem(vs[-1])
        volume: Tensor | None = None
        logits: Tensor | None = None
        flat = []
        for number, (v, stage, fuse, head) in enumerate(
            zip(vs, self.stages, self.volumes, self.heads, strict=True)
        ):
            if number:
                x = doubled(self.narrow[number - 1](x))
            x = stage(x)
            if number == len(vs) - 1:
                x = self.norm(x)
            volume = fuse(v, x, volume)
            first, second = volume.chunk(2)
            flat.append((first + second) / 2)
            answer = head(flat[-1])
            logits = answer if logits is None else doubled(logits) + answer
        assert logits is not None
        return logits, flat


def visual_features(volumes: list[Tensor]) -> Tensor:
    """Return what describes nuclei: the four volumes side by side, at `FEATURE_STRIDE`.

    Parameters
    ----------
    volumes : list of Tensor
        As `Decoder` returns them.

    Returns
    -------
    Tensor
        (B, 4 C, 4 h, 4 w) of volumes from (B, C, h, w) on.
    """
    size = volumes[STRIDES.index(FEATURE_STRIDE)].shape[-2:]
    coarse = [F.interpolate(volume, size, mode="bilinear") for volume in volumes[:-1]]
    return torch.cat([*coarse, F.avg_pool2d(volumes[-1], 2)], 1)


def doubled(x: Tensor) -> Tensor:
    """Return a map of twice the size.

    Parameters
    ----------
    x : (B, C, h, w) Tensor of float
        A map.

    Returns
    -------
    (B, C, 2 h, 2 w) Tensor of float
        Interpolated bilinearly.
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear")
