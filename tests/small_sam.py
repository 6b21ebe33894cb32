"""SAM's own parts around an encoder that costs nothing."""

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn


class SmallEncoder(nn.Conv2d):
    """One convolution where SAM has a network, of the same shapes."""

    img_size = 1024

    def __init__(self) -> None:
        super().__init__(3, 256, 16, stride=16)


def small_sam() -> Sam:
    """Build it with the same random weights every time."""
    torch.manual_seed(0)
    transformer = TwoWayTransformer(depth=1, embedding_dim=256, num_heads=2, mlp_dim=8)
    return Sam(
        SmallEncoder(),
        PromptEncoder(256, (64, 64), (1024, 1024), mask_in_chans=16),
        MaskDecoder(transformer_dim=256, transformer=transformer),
    )
