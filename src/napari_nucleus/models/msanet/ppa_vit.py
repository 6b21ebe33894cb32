"""A Vision Transformer whose attention looks at a pooled pyramid of its tokens.

Papers: Dosovitskiy et al. "An image is worth 16x16 words", ICLR 2021; Wu et al. "P2T: pyramid
pooling transformer for scene understanding", TPAMI 2022, which MSA-Net's pyramid pooling attention
(equations 2 to 4) follows.

Trunk and weights are timm's (Apache-2.0). Query, key and value projections keep their shapes and
names, so that the weights of a plain ViT fit; what pooling adds, begins as nothing: its relative
position encoding is 0.

The class token, which has no place in the image, is left out.
"""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.weights.hub import fetch_weights

PATCH = 16
"""Side of a token in pixels."""

RATIOS = (3, 4, 5, 6)
"""By which the pyramid's levels are smaller: those of P2T for a grid of about 14 tokens."""

_log = logging.getLogger(__name__)


class PyramidPoolingAttention(nn.Module):
    """Attention with queries from all tokens, keys and values from the pooled pyramid.

    Parameters
    ----------
    width : int
        Channels of a token.
    heads : int
        Of the attention.
    ratios : tuple of int
        Sides of the pools, in tokens.
    """

    def __init__(self, width: int, heads: int, ratios: tuple[int, ...] = RATIOS) -> None:
        super().__init__()
        self.heads = heads
        self.ratios = ratios
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.position = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in ratios
        )
        for parameter in self.position.parameters():
            nn.init.zeros_(parameter)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Let tokens attend to the pooled pyramid of all tokens.

        Parameters
        ----------
        tokens : (B, h w, C) Tensor of float
            Tokens of a grid, row by row.
        grid : tuple of 2 int
            h and w.

        Returns
        -------
        (B, h w, C) Tensor of float
            What each token has gathered.
        """
        x = tokens.mT.unflatten(2, grid)
        levels = [F.avg_pool2d(x, ratio, ceil_mode=True) for ratio in self.ratios]
        levels = [
            level + encode(level) for level, encode in zip(levels, self.position, strict=True)
        ]
        pyramid = self.norm(torch.cat([level.flatten(2) for level in levels], 2).mT)
        width = tokens.shape[-1]
        query, rest = self.qkv.weight.split([width, 2 * width])
        query_bias, rest_bias = self.qkv.bias.split([width, 2 * width])
        q = F.linear(tokens, query, query_bias)
        k, v = F.linear(pyramid, rest, rest_bias).chunk(2, -1)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        answer = F.scaled_dot_product_attention(q, k, v)
        return self.proj(answer.transpose(1, 2).flatten(2))


class PyramidViT(nn.Module):
    """ViT with pyramid pooling attention, read after four of its layers.

    Parameters
    ----------
    width, depth, heads : int
        Of the transformer.
    side : int
        Side in tokens of the images that its position embedding is made for; it is interpolated
        for others.
    drop_path : float
        Stochastic depth while training.
    """

    def __init__(
        self, width: int, depth: int, heads: int, side: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.taps = tuple(depth * quarter // 4 for quarter in (1, 2, 3, 4))
        self.vit = VisionTransformer(
            img_size=side * PATCH,
            patch_size=PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            class_token=False,
            global_pool="",
            dynamic_img_size=True,
            drop_path_rate=drop_path,
        )
        self.side = side
        for block in self.vit.blocks:
            block.attn = PyramidPoolingAttention(width, heads)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode images.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            Normalised; sides whole numbers of `PATCH`.

        Returns
        -------
        list of Tensor
            (B, C, H / 16, W / 16) after each of four layers.
        """
        vit: Any = self.vit
        x = vit.patch_embed(images)  # (B, h, w, C)
        grid = (x.shape[1], x.shape[2])
        position = vit.pos_embed
        if grid != (self.side, self.side):
            position = resample_abs_pos_embed(
                position, list(grid), [self.side, self.side], num_prefix_tokens=0
            )
        x = x.flatten(1, 2) + position
        found = []
        for number, block in enumerate(vit.blocks, 1):
            x = x + block.drop_path1(block.ls1(block.attn(block.norm1(x), grid)))
            x = x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))
            if number in self.taps:
                tap = vit.norm(x) if number == self.taps[-1] else x
                found.append(tap.mT.unflatten(2, grid))
        return found

    def load_plain(self, state: dict[str, Tensor]) -> None:
        """Take the weights of a plain timm ViT of the same width and depth.

        Its position embedding is interpolated; class token and classifier are left out.

        Parameters
        ----------
        state : dict of str to Tensor
            timm's weights.

        Raises
        ------
        UserError
            If they do not fit.
        """
        own = self.vit.state_dict()
        position = state["pos_embed"]
        grid = int(position.shape[1] ** 0.5)
        tokens = position[:, position.shape[1] - grid**2 :]
        state = {
            **{key: value for key, value in state.items() if key in own},
            "pos_embed": resample_abs_pos_embed(
                tokens, [self.side, self.side], [grid, grid], num_prefix_tokens=0
            ),
        }
        lacking = {key for key in own if ".attn.position." not in key and ".attn.norm." not in key}
        try:
            if lacking := lacking - state.keys():
                raise RuntimeError(f"{len(lacking)} weights are missing")
            self.vit.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise UserError(
                f"These weights are of another ViT than one of width {self.width} and depth "
                f"{len(self.vit.blocks)}: take the right ones."
            ) from error


class Encoder(nn.Module):
    """The ViT, and CLIP's image encoder where that learns.

    Parameters
    ----------
    vit : PyramidViT
        The student.
    clip : nn.Module or None
        CLIP's image encoder, or None.
    """

    def __init__(self, vit: PyramidViT, clip: nn.Module | None) -> None:
        super().__init__()
        self.vit = vit
        self.clip = clip


def load_from_hub(vit: PyramidViT, name: str) -> None:
    """Load timm's weights of a plain ViT, or say that it starts from scratch.

    Parameters
    ----------
    vit : PyramidViT
        Into which.
    name : str
        timm's, with a tag.
    """
    try:
        file = fetch_weights(f"timm/{name}")
    except UserError as error:
        _log.warning("%s Without weights, the ViT starts from scratch.", error)
        return
    vit.load_plain(load_file(file))
