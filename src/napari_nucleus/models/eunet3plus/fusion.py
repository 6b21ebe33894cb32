"""Fusion of a network's bottleneck with SAM's embedding.

Paper: SAM-fused eU-Net3+, section on the Enhanced Fusion Block; see
`napari_nucleus.models.eunet3plus`. A cell of the bottleneck and one of SAM's embedding show the
same place.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from napari_nucleus.models.devices import memory_format

CHANNELS = 256
"""Of SAM's embedding."""

_WINDOW = 16
"""Cells along the side of a patch of 256 px, which is what the paper's block pools and attends
over; a larger image is fused in windows of at most that size, so that it is used as it was trained.
"""

_REDUCTION = 16
_MIN_HIDDEN = 8
"""Of the gate's bottleneck: the few neurons of a narrow layer can all be dead."""


class EnhancedFusion(nn.Module):
    """Gated squeeze-and-excitation, then attention.

    The gate squeezes both maps to one number a channel, from which it weighs the channels of the
    network's map. Attention asks with the gated map, and its answer takes the map's place.

    Parameters
    ----------
    channels : int
        Of the network's map.
    gate : bool
        Whether there is a gate.
    glu : bool
        Whether the gate's hidden layer is a gated linear unit (the paper's text) rather than ReLU.
    attention : bool
        Whether there is attention.
    kv : {"local", "sam"}
        Keys and values of the attention. ``"local"`` is the network's map before the gate, as
        released: SAM reaches the gate only. ``"sam"`` is SAM's embedding, cross-attention as in the
        text.
    """

    def __init__(
        self,
        channels: int,
        gate: bool = True,
        glu: bool = True,
        attention: bool = True,
        kv: Literal["local", "sam"] = "local",
    ) -> None:
        super().__init__()
        both = channels + CHANNELS
        hidden = max(both // _REDUCTION, _MIN_HIDDEN)
        self.gate = (
            nn.Sequential(
                nn.Linear(both, 2 * hidden if glu else hidden),
                nn.GLU() if glu else nn.ReLU(),
                nn.Linear(hidden, channels),
                nn.Sigmoid(),
            )
            if gate
            else None
        )
        self.kv = kv
        seen = CHANNELS if kv == "sam" else channels
        self.attention = (
            nn.MultiheadAttention(channels, 1, kdim=seen, vdim=seen, batch_first=True)
            if attention
            else None
        )

    def forward(self, local: Tensor, guide: Tensor) -> Tensor:
        """Fuse the network's map with SAM's embedding.

        Parameters
        ----------
        local : (B, C, h, w) Tensor of float
            The network's map.
        guide : (B, 256, h, w) Tensor of float
            SAM's embedding.

        Returns
        -------
        (B, C, h, w) Tensor of float
            The fused map.
        """
        rows = zip(_windows(local, 2), _windows(guide, 2), strict=True)
        fused = torch.cat([self._fuse_row(*row) for row in rows], 2)
        # the layout in which the convolutions that follow are fast
        return fused.contiguous(memory_format=memory_format(fused.device))

    def _fuse_row(self, local: Tensor, guide: Tensor) -> Tensor:
        pairs = zip(_windows(local, 3), _windows(guide, 3), strict=True)
        return torch.cat([self._fuse(*pair) for pair in pairs], 3)

    def _fuse(self, local: Tensor, guide: Tensor) -> Tensor:
        guide = guide.to(local.dtype)
        gated = local
        if self.gate is not None:
            squeezed = torch.cat([local.mean((2, 3)), guide.mean((2, 3))], 1)
            gated = local * self.gate(squeezed)[..., None, None].to(local.dtype)
        if self.attention is None:
            return gated
        seen = _tokens(guide if self.kv == "sam" else local)
        # without the weights, it is PyTorch's scaled_dot_product_attention
        answer, _ = self.attention(_tokens(gated), seen, seen, need_weights=False)
        return answer.mT.reshape(local.shape)


class Concatenation(nn.Module):
    """Both maps concatenated, and a 1x1 convolution back to the network's channels (Table 3).

    Parameters
    ----------
    channels : int
        Channels of the network's map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels + CHANNELS, channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, local: Tensor, guide: Tensor) -> Tensor:
        return self.mix(torch.cat([local, guide.to(local.dtype)], 1))


def _windows(x: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Split along an axis into windows that differ in size by a cell at most."""
    return x.tensor_split(-(-x.shape[axis] // _WINDOW), axis)


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).mT
