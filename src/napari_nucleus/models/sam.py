"""SAM, frozen: an image encoder for models to lean on, and the decoder of its prompts.

Papers: Kirillov et al. "Segment anything", ICCV 2023; Zhang et al. "Faster Segment Anything:
towards lightweight SAM for mobile applications" (MobileSAM), 2023. Code and weights: Apache-2.0.
The weights do not ship; `napari_nucleus.sam_weights` knows them.

ViT-B, L and H are `segment_anything`'s own. MobileSAM (``vit_t``) is its prompt encoder and mask
decoder behind a TinyViT, whose embedding has the same shape.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Self

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor

from napari_nucleus.devices import autocast_dtype
from napari_nucleus.errors import UserError
from napari_nucleus.models.tinyvit import TinyViTEncoder, rename_weights
from napari_nucleus.sam_weights import SAM_WEIGHTS, check_sam, find_sam

SIDE = 1024
"""Side of the images that SAM takes, in pixels."""

_ENCODER = "image_encoder."
_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Channels of a patch's token, which tell the three ViTs apart."""


class FrozenSam:
    """SAM as a tool that never learns.

    It is no module on purpose: a model that holds one neither trains it, nor gives it to the
    optimizer, nor saves it.

    Parameters
    ----------
    network
        Taken over: put into evaluation mode, without gradients.
    kind
        Name of its image encoder: ``"vit_t"``, ``"vit_b"``, ``"vit_l"``, ``"vit_h"``.
    sha256
        Of the file that its weights come from; empty for random weights.
    """

    def __init__(self, network: Sam, kind: str, sha256: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.kind = kind
        self.sha256 = sha256

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.network.device

    def to(self, device: torch.device | str) -> Self:
        """Move it to a device."""
        self.network.to(device)
        return self

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Compute the embedding of images, in half precision on a GPU.

        Parameters
        ----------
        images
            Float (B, 3, H, W) in [0, 1], RGB, H and W at most 1024. Smaller ones are padded on the
            right and at the bottom.

        Returns
        -------
        Tensor
            Float32 (B, 256, 64, 64) on SAM's device; one cell is 16 x 16 px of the padded image.
        """
        if max(images.shape[-2:]) > SIDE:
            raise ValueError(f"SAM takes images of {SIDE} px, not of {tuple(images.shape[-2:])}.")
        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, autocast_dtype(self.device), enabled=half):
            padded = self.network.preprocess(images.to(self.device, torch.float32) * 255)
            return self.network.image_encoder(padded).float()


def build_sam(kind: str) -> Sam:
    """Build SAM with random weights.

    Parameters
    ----------
    kind
        Name of the image encoder: ``"vit_t"`` (MobileSAM), ``"vit_b"``, ``"vit_l"``, ``"vit_h"``.
    """
    if kind in sam_model_registry:
        return sam_model_registry[kind]()
    width, cells = 256, SIDE // 16
    return Sam(
        image_encoder=TinyViTEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(cells, cells),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, num_heads=8, mlp_dim=2048),
        ),
    )


def load_sam(
    source: str | Path = "vit_t", kind: str | None = None, device: torch.device | str = "cpu"
) -> FrozenSam:
    """Load SAM from its published weights, or from others for the same networks.

    Parameters
    ----------
    source
        Name of an image encoder, whose official file is looked for where `fetch_sam` puts it, or
        a file.
    kind
        Name of the image encoder that the file must be for; None takes what is in it.
    device
        Where it shall compute.

    Raises
    ------
    UserError
        If there is no such file, or it is damaged, no SAM, or for another image encoder.
    """
    path = find_sam(source)
    sha256 = check_sam(path)
    about = f"{path.name} ({path.stat().st_size:,} bytes, SHA-256 {sha256[:12]}…)"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
        raise UserError(
            f"{about} is damaged or no checkpoint: get it again or choose another."
        ) from error
    found = _kind(state)
    if found is None:
        raise UserError(f"{about} holds no SAM: choose SAM ViT-B, L or H, or MobileSAM.")
    kind = kind or (str(source) if str(source) in SAM_WEIGHTS else found)
    if found != kind:
        raise UserError(
            f"{about} holds {SAM_WEIGHTS[found].title}, where {SAM_WEIGHTS[kind].title} is "
            "asked for: choose another file or the other encoder."
        )
    network = build_sam(kind)
    if kind == "vit_t":
        state = _with_timm_names(state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{about} does not fit {SAM_WEIGHTS[kind].title}: it belongs to a variant of it."
        ) from error
    return FrozenSam(network, kind, sha256).to(device)


def _kind(state: object) -> str | None:
    """Tell the image encoder from the weights; None if they are no SAM's."""
    if not isinstance(state, dict):
        return None
    if f"{_ENCODER}patch_embed.seq.0.c.weight" in state:
        return "vit_t"
    tokens = state.get(f"{_ENCODER}patch_embed.proj.weight")
    return _WIDTHS.get(len(tokens)) if isinstance(tokens, Tensor) and tokens.ndim else None


def _with_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    encoder = {k.removeprefix(_ENCODER): v for k, v in state.items() if k.startswith(_ENCODER)}
    rest = {key: value for key, value in state.items() if not key.startswith(_ENCODER)}
    return rest | {_ENCODER + key: value for key, value in rename_weights(encoder).items()}
