"""HistoNeXt: a ConvNeXt encoder with three branches, after HoVer-Net.

Paper: Chen, Wang, Dong, He, Wang. "HistoNeXt: dual-mechanism feature pyramid network for cell
nuclear segmentation and classification", BMC Medical Imaging, 2025.

Encoder weights, where they can be had, are timm's (Apache-2.0; of the published variants
ImageNet-22k fine-tuned on ImageNet-1k at 384 px).

Settled where the paper is silent or contradicts itself:

- Every decoder width scales with C3, the channels of the encoder's last feature (768, 1024, 1536,
  2048). The text's "Tiny is half of Base" disagrees with its own parameter counts.
- Five doublings lead from stride 32 to full resolution and the text lists four: the fifth is a
  bilinear one of the logits. (A 1x1 convolution and a bilinear interpolation commute, so the
  cheap order is taken.)
- ``same`` padding everywhere, so that one set of weights takes any image size; the input is padded
  to a multiple of 32 px and the output cropped back, so that predictions lie on their pixels.
  The paper's centre 80x80 of 270x270 is a crop of this output; `forward_centre` computes it alone.
- A pixel votes for its most probable type, background left out, so that every nucleus has one.
- Groups of the type branch's convolutions are C3/64: 12 in Tiny, as printed; 12 does not divide
  Base.

With this reading the four published variants have 82.5, 184.5, 413.6 and 734.1 million parameters
(published: 82.6, 184.8, 414.0, 734.4). The published multiply-adds (33.7, 69.5, 155.7, 276.0 GMAC)
are met within 3 % by `forward_centre` with its margin of 44 px; decoding all 270 px costs about
twice as much. No reading of the text meets all eight figures to the digit.

Atto, femto, pico and nano are compact variants of this project: the same code on smaller encoders.
"""

import logging
import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import timm
import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.instances import HOVER, hover_instances
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.pooling import feature_cells
from napari_nucleus.models.registry import register_model
from napari_nucleus.weights.hub import fetch_weights

ENCODERS = {
    "histonext_atto": "convnext_atto.d2_in1k",
    "histonext_femto": "convnext_femto.d1_in1k",
    "histonext_pico": "convnext_pico.d1_in1k",
    "histonext_nano": "convnext_nano.in12k_ft_in1k",
    "histonext_tiny": "convnext_tiny.fb_in22k_ft_in1k_384",
    "histonext_base": "convnext_base.fb_in22k_ft_in1k_384",
    "histonext_large": "convnext_large.fb_in22k_ft_in1k_384",
    "histonext_xlarge": "convnext_xlarge.fb_in22k_ft_in1k_384",
}

_MIN_HIDDEN = 8
"""Of the attention's bottleneck: the two neurons of a narrow layer can both be dead."""

_log = logging.getLogger(__name__)


class DenseBlock(nn.Module):
    """BN, ReLU, 3x3 convolution, `layers` times, each seeing all that came before (equation 1).

    Parameters
    ----------
    channels : int
        Channels of the input.
    growth : int
        Channels that each layer adds.
    layers : int
        Number of layers.
    """

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                nn.Conv2d(channels + i * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )
        self.out_channels = channels + layers * growth

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class ConvCAM(nn.Module):
    """Grouped 5x5 convolution, BN, ReLU, channel attention (equation 4).

    Parameters
    ----------
    channels, groups : int
        Of the convolution.
    window : int or None
        Side of the square, in pixels of this layer, over which the attention pools: the paper pools
        over its one patch size, so a larger image is pooled in windows of the size trained with,
        and its types do not depend on the size of the tiles. None pools over everything.
    reduction : int
        By which the attention's bottleneck is narrower.
    """

    def __init__(self, channels: int, groups: int, window: int | None, reduction: int = 16) -> None:
        super().__init__()
        self.window = window
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        hidden = max(channels // reduction, _MIN_HIDDEN)
        self.attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.window is None or max(x.shape[-2:]) <= self.window:
            pooled = F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1)
            return x * self.attention(pooled)
        window = [min(self.window, size) for size in x.shape[-2:]]
        mean = F.avg_pool2d(x, window, ceil_mode=True, count_include_pad=False)
        pooled = mean + F.max_pool2d(x, window, ceil_mode=True)
        return x * F.interpolate(self.attention(pooled), x.shape[-2:], mode="bilinear")


class Branch(nn.Module):
    """Four doublings from stride 32, each meeting the encoder's skip, and a 1x1 convolution.

    Parameters
    ----------
    channels : list of int
        Channels of the encoder's four features, finest first.
    kernel : int
        Size of the transposed convolutions.
    """

    def __init__(self, channels: list[int], kernel: int) -> None:
        super().__init__()
        c3 = channels[3]
        self.kernel = kernel
        self.widths = (c3 // 2, c3 // 4, c3 // 8, c3 // 8)
        self.skips = (channels[2], channels[1], channels[0], 0)
        self.up = nn.ModuleList()
        self.blocks = nn.ModuleList()

    head: nn.Conv2d

    def hidden(self, features: list[Tensor], centre: tuple[int, int] | None) -> Tensor:
        """Return the layer before the logits, at stride 2.

        Parameters
        ----------
        features : list of Tensor
            (B, C, h, w) of the encoder at strides 4, 8, 16 and 32.
        centre : tuple of 2 int or None
            As `stages` takes it.

        Returns
        -------
        (B, C, h, w) Tensor of float
            Twice as wide as the finest of the encoder's features, where `centre` is None.
        """
        raise NotImplementedError

    def stages(
        self, features: list[Tensor], centre: tuple[int, int] | None
    ) -> Iterator[tuple[nn.Module, nn.Module, Callable[[Tensor], Tensor], Tensor | None]]:
        """Yield each stage's upsampling, block, crop and skip, from coarse to fine.

        The crop cuts what the upsampling gave, and the skip is cut already, to the pixels that
        cover `centre`.

        Parameters
        ----------
        features : list of Tensor
            (B, C, h, w) of the encoder at strides 4, 8, 16 and 32.
        centre : tuple of 2 int or None
            First and last (excluded) input pixel that is wanted, in both axes; None is all.
        """
        skips = [*features[2::-1], None]
        start = 0
        for stage, (up, block, skip) in enumerate(zip(self.up, self.blocks, skips, strict=True)):
            if centre is None:
                yield up, block, _all, skip
                continue
            stride = 16 >> stage
            first, last = centre[0] // stride, math.ceil(centre[1] / stride)
            crop = partial(_square, first=first - 2 * start, last=last - 2 * start)
            yield up, block, crop, None if skip is None else _square(skip, first, last)
            start = first

    def upsampling(self, channels: int, stage: int) -> nn.ConvTranspose2d:
        """Return the transposed convolution that doubles the size exactly.

        Parameters
        ----------
        channels : int
            Channels of the input.
        stage : int
            Index of the stage, coarsest first.
        """
        pad = self.kernel // 2
        return nn.ConvTranspose2d(
            channels, self.widths[stage], self.kernel, 2, padding=pad, output_padding=1
        )


class DenseBranch(Branch):
    """The nucleus-pixel and the distance branch: skip first, then a dense block (equation 3).

    Parameters
    ----------
    channels : list of int
        Channels of the encoder's four features, finest first.
    out_channels : int
        Channels of the logits.
    """

    def __init__(self, channels: list[int], out_channels: int) -> None:
        super().__init__(channels, kernel=3)
        width = channels[3]
        for stage, layers in enumerate((2, 4, 6, 4)):
            self.up.append(self.upsampling(width, stage))
            growth = channels[3] // 2 ** (stage + 1)
            block = DenseBlock(self.widths[stage] + self.skips[stage], growth, layers)
            self.blocks.append(block)
            width = block.out_channels
        self.head = nn.Conv2d(width, out_channels, 1)

    def hidden(self, features: list[Tensor], centre: tuple[int, int] | None) -> Tensor:
        x = features[3]
        for up, block, crop, skip in self.stages(features, centre):
            x = crop(up(x))
            x = block(x if skip is None else torch.cat([x, skip], 1))
        return x


class AttentionBranch(Branch):
    """The type branch: ConvCAM first, then the skip.

    Parameters
    ----------
    channels : list of int
        Channels of the encoder's four features, finest first.
    out_channels : int
        Channels of the logits.
    window : int or None
        Side in input pixels over which the attention pools; see `ConvCAM`.
    """

    def __init__(self, channels: list[int], out_channels: int, window: int | None) -> None:
        super().__init__(channels, kernel=5)
        width = channels[3]
        for stage, layers in enumerate((1, 2, 3, 4)):
            self.up.append(self.upsampling(width, stage))
            side = None if window is None else window // 2 ** (4 - stage)
            cams = (ConvCAM(self.widths[stage], channels[3] // 64, side) for _ in range(layers))
            self.blocks.append(nn.Sequential(*cams))
            width = self.widths[stage] + self.skips[stage]
        self.head = nn.Conv2d(width, out_channels, 1)

    def hidden(self, features: list[Tensor], centre: tuple[int, int] | None) -> Tensor:
        x = features[3]
        for up, block, crop, skip in self.stages(features, centre):
            x = block(crop(up(x)))
            x = x if skip is None else torch.cat([x, skip], 1)
        return x


class HistoNeXt(NucleusModel):
    """ConvNeXt encoder, two dense branches for segmentation, an attention branch for types.

    Parameters
    ----------
    encoder : str
        Name of a timm ConvNeXt.
    types : tuple of str
        Names of the nucleus types; without them there is no type branch.
    pretrained : bool
        Whether to fetch timm's encoder weights. Where the hub does not answer, the encoder starts
        from scratch and one log line says so.
    window : int or None
        Side in pixels of the windows over which the type branch's attention pools, a multiple of
        16; None is the paper's pooling over the whole input.
    drop_path : float
        Stochastic depth of the encoder while training.
    """

    mean: Tensor
    std: Tensor
    postprocessing = HOVER

    def __init__(
        self,
        encoder: str,
        types: tuple[str, ...] = (),
        pretrained: bool = True,
        window: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(types, {"window": window})
        self.encoder = _encoder(encoder, pretrained, drop_path)
        channels = self.encoder.feature_info.channels()  # type: ignore[operator, union-attr]
        self.np = DenseBranch(channels, 2)
        self.hv = DenseBranch(channels, 2)
        self.tp = AttentionBranch(channels, len(types) + 1, window) if types else None
        self.register_buffer("mean", _column(IMAGENET_DEFAULT_MEAN), persistent=False)
        self.register_buffer("std", _column(IMAGENET_DEFAULT_STD), persistent=False)

    def encode(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        x = (images - self.mean) / self.std
        return self.encoder(F.pad(x, (0, -width % 32, 0, -height % 32), mode="replicate"))

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        height, width = size
        logits = {}
        for key, branch in self._branches().items():
            hidden = branch.hidden(features, None)
            logits[key] = _doubled(branch.head(hidden))[..., :height, :width]
            if not self.training and branch is (self.tp or self.np):
                logits["features"] = feature_cells(hidden, size, stride=2)
        return logits

    def forward_centre(self, images: Tensor, size: int = 80, margin: int = 44) -> dict[str, Tensor]:
        """Map square images to the logits of their centre, as the paper has it: 270 to 80 px.

        The decoder computes the centre and a margin only, which is where the published
        multiply-adds come from; per pixel that is kept, it costs many times `forward`.

        Parameters
        ----------
        images : (B, 3, S, S) Tensor of float
            In [0, 1].
        size : int
            Side of the centre.
        margin : int
            Pixels around the centre that the decoder computes besides.

        Returns
        -------
        dict
            Logits as `forward` returns them, (B, C, size, size).
        """
        first = (images.shape[-1] - size) // 2
        centre = (first - margin, first + size + margin)
        offset = first - centre[0] // 2 * 2
        features = self.encode(images)
        inside = slice(offset, offset + size)
        return {
            key: _doubled(branch.head(branch.hidden(features, centre)))[..., inside, inside]
            for key, branch in self._branches().items()
        }

    def _branches(self) -> dict[str, Branch]:
        branches = {"np": self.np, "hv": self.hv, "tp": self.tp}
        return {key: branch for key, branch in branches.items() if branch is not None}

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = {"np": logits["np"].softmax(1)[:, 1], "hv": logits["hv"]}
        if "features" in logits:
            maps["features"] = logits["features"].half()
        if "tp" in logits:
            maps["tp"] = logits["tp"][:, 1:].argmax(1).to(torch.uint8) + 1
        return maps

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        arguments = self.postprocessing_arguments(threshold)
        labels, table = hover_instances(maps["np"], maps["hv"], maps.get("tp"), **arguments)
        self.name_types(table)
        return labels, table


def _encoder(name: str, pretrained: bool, drop_path: float) -> nn.Module:
    build = partial(timm.create_model, name, features_only=True, drop_path_rate=drop_path)
    file = _weights(name) if pretrained else None
    if file is None:
        return build(pretrained=False)
    return build(pretrained=True, pretrained_cfg_overlay={"file": file})


def _weights(encoder: str) -> str | None:
    """Return timm's weights of an encoder, from the cache or the hub, or say why there are none."""
    try:
        return str(fetch_weights(f"timm/{encoder}"))
    except UserError as error:
        _log.warning("%s Without weights, it starts from scratch.", error)
        return None


def _all(x: Tensor) -> Tensor:
    return x


def _square(x: Tensor, first: int, last: int) -> Tensor:
    return x[..., first:last, first:last]


def _doubled(logits: Tensor) -> Tensor:
    return F.interpolate(logits.float(), scale_factor=2, mode="bilinear")


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


for _name, _encoder_name in ENCODERS.items():
    register_model(_name, partial(HistoNeXt, _encoder_name))
