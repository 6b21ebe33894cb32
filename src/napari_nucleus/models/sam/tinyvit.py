"""MobileSAM's image encoder: TinyViT with SAM's neck.

Papers: Zhang et al. "Faster Segment Anything: towards lightweight SAM for mobile applications",
2023; Wu et al. "TinyViT: fast pretraining distillation for small vision transformers", ECCV 2022.
Licence of the weights: Apache-2.0.

The trunk is timm's. MobileSAM's differs from it in one number: its last stage keeps the stride of
16, so that its embedding has the shape of SAM's.
"""

import re

from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import TinyVit
from torch import Tensor, nn

_RENAMED = (
    (r"^patch_embed\.seq\.0", "trunk.patch_embed.conv1"),
    (r"^patch_embed\.seq\.2", "trunk.patch_embed.conv2"),
    (r"^layers\.(\d)\.blocks", r"trunk.stages.\1.blocks"),
    (r"\.c\.weight$", ".conv.weight"),
)
"""Patterns of MobileSAM's names of weights, and timm's names for them."""


class TinyViTEncoder(nn.Module):
    """Map images of 1024 x 1024 px, normalised as SAM wants, to SAM's embedding.

    Attributes
    ----------
    img_size
        Side of the input in pixels, under the name that `segment_anything.modeling.Sam` reads.
    """

    img_size = 1024

    def __init__(self) -> None:
        super().__init__()
        # By class, as MobileSAM's own package registers another network under timm's name.
        self.trunk = TinyVit(
            embed_dims=(64, 128, 160, 320), num_heads=(2, 4, 5, 10), drop_path_rate=0.0
        )
        at_stride_16 = nn.Conv2d(320, 320, 3, padding=1, groups=320, bias=False)
        self.trunk.set_submodule("stages.3.downsample.conv2.conv", at_stride_16)
        self.trunk.set_submodule("head", nn.Identity())
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embed images.

        Parameters
        ----------
        images : (B, 3, 1024, 1024) Tensor of float
            Normalised as SAM has it.

        Returns
        -------
        (B, 256, 64, 64) Tensor of float
            The embedding.
        """
        return self.neck(self.trunk(images))


def rename_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of MobileSAM's image encoder the names that `TinyViTEncoder` has for them.

    Its classifier, which no embedding needs, is left out.

    Parameters
    ----------
    state : dict of str to Tensor
        Weights of MobileSAM's image encoder.
    """
    return {_renamed(key): value for key, value in state.items() if "head" not in key}


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        key = re.sub(pattern, name, key)
    # MobileSAM ends a stage with the downsampling with which timm begins the next one.
    return re.sub(
        r"^layers\.(\d)\.downsample",
        lambda found: f"trunk.stages.{int(found[1]) + 1}.downsample",
        key,
    )
