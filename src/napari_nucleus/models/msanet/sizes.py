"""Sizes of MSA-Net: the paper's network, and a compact variant of ours."""

from dataclasses import dataclass

from napari_nucleus.models.msanet.clip import SMALL, UNTRAINED


@dataclass(frozen=True)
class Size:
    """Size of the network.

    Attributes
    ----------
    width, depth, heads : int
        Of the ViT.
    widths, depths : tuple of int
        Of the decoder's stages.
    volume : int
        Channels of the feature volumes.
    clip : str
        Name of the CLIP that is used where the caller names none.
    vit : str
        timm's name of the weights that the ViT starts from; empty where there are none.
    """

    width: int
    depth: int
    heads: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    volume: int
    clip: str
    vit: str = ""


SIZES = {
    "msanet_small": Size(192, 4, 3, (128, 96, 64, 32), (1, 1, 2, 1), 16, f"{SMALL}/{UNTRAINED}"),
    "msanet": Size(
        768,
        12,
        12,
        (256, 256, 128, 128),
        (3, 3, 9, 3),
        64,
        "ViT-B-16/openai",
        "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    ),
}
