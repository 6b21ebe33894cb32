"""SAM, frozen: an image encoder for models to lean on, and the decoder of its prompts.

Papers: Kirillov et al. "Segment anything", ICCV 2023; Zhang et al. "Faster Segment Anything:
towards lightweight SAM for mobile applications" (MobileSAM), 2023. Code and weights: Apache-2.0.
The weights do not ship; `napari_nucleus.weights.sam` knows them.

ViT-B, L and H are `segment_anything`'s own. MobileSAM (``vit_t``) is its prompt encoder and mask
decoder behind a TinyViT, whose embedding has the same shape.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Self

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor
from torch.func import functional_call

from napari_nucleus.errors import UserError
from napari_nucleus.models.devices import half_precision
from napari_nucleus.models.feature_cache import FeatureCache
from napari_nucleus.models.sam.tinyvit import TinyViTEncoder, rename_weights
from napari_nucleus.weights.sam import SAM_WEIGHTS, check_sam, find_sam, find_sam_by_sha256

SIDE = 1024
"""Side of the images that SAM takes, in pixels."""

CELL = 16
"""Side of a cell of SAM's embedding, in pixels."""

_CHANNELS = 256

_ENCODER = "image_encoder."
_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Channels of a patch's token, which tell the three ViTs apart."""


class FrozenSam:
    """SAM as a tool that never learns.

    It is no module on purpose: a model that holds one neither trains it, nor gives it to the
    optimizer, nor saves it.

    Parameters
    ----------
    network : Sam
        Taken over: put into evaluation mode, without gradients.
    kind : str
        Name of its image encoder: ``"vit_t"``, ``"vit_b"``, ``"vit_l"``, ``"vit_h"``.
    sha256 : str
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
        """Move it to a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        FrozenSam
            Itself.
        """
        self.network.to(device)
        return self

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Compute the embedding of images, in half precision on a GPU.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            In [0, 1]. RGB, H and W at most 1024. Smaller ones are padded on the
            right and at the bottom.

        Returns
        -------
        Tensor
            Float32 (B, 256, 64, 64) on SAM's device; one cell is 16 x 16 px of the padded image.
        """
        if max(images.shape[-2:]) > SIDE:
            raise ValueError(f"SAM takes images of {SIDE} px, not of {tuple(images.shape[-2:])}.")
        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, half_precision(self.device), enabled=half):
            padded = self.network.preprocess(images.to(self.device, torch.float32) * 255)
            return self.network.image_encoder(padded).float()

    @torch.no_grad()
    def embed_native(self, images: Tensor) -> Tensor:
        """Compute the embedding of images of any size at their own resolution, and of them alone.

        Images of more than 1024 px are embedded in parts of at most that; smaller ones are not
        padded to it, so that their cost goes by their area.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            In [0, 1]. RGB, H and W multiples of 16.

        Returns
        -------
        Tensor
            Half-precision floats (B, 256, H / 16, W / 16) on SAM's device.
        """
        if any(side % CELL for side in images.shape[-2:]):
            raise ValueError(f"H and W must be multiples of {CELL}: {tuple(images.shape[-2:])}.")
        images = images.to(self.device, torch.float32)
        pixels = (images * 255 - self.network.pixel_mean) / self.network.pixel_std
        half = self.device.type == "cuda"
        with torch.autocast(self.device.type, half_precision(self.device), enabled=half):
            rows = [
                torch.cat([self._encode(part).half() for part in _parts(row, 3)], 3)
                for row in _parts(pixels, 2)
            ]
            return torch.cat(rows, 2)

    def _encode(self, pixels: Tensor) -> Tensor:
        encoder = self.network.image_encoder
        return encode_vit(encoder, pixels) if hasattr(encoder, "pos_embed") else encoder(pixels)


def encode_vit(encoder: ImageEncoderViT, pixels: Tensor) -> Tensor:
    """Run SAM's ViT on images of fewer pixels than it was trained with.

    Positions, absolute and relative, are those of the first cells of the whole, as far as needed;
    `segment_anything` alone would stretch the relative ones, so that near seems far.

    Parameters
    ----------
    encoder : ImageEncoderViT
        The network.
    pixels : (B, 3, H, W) Tensor of float
        Normalised, H and W multiples of its patch.

    Returns
    -------
    Tensor
        (B, 256, H / 16, W / 16).
    """
    x = encoder.patch_embed(pixels)
    height, width = x.shape[1:3]
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed[:, :height, :width]
    for block in encoder.blocks:
        near = {}
        if block.window_size == 0 and block.attn.use_rel_pos:
            near["attn.rel_pos_h"] = _near(block.attn.rel_pos_h, height)
            near["attn.rel_pos_w"] = _near(block.attn.rel_pos_w, width)
        x = functional_call(block, near, (x,))
    return encoder.neck(x.movedim(-1, 1))


class SamGuide:
    """A SAM for a model to lean on, loaded when it is first asked.

    It is no module on purpose, as `FrozenSam` is none.

    Parameters
    ----------
    kind : str
        Name of the image encoder; see `build_sam`.
    weights : str or mapping of str to str
        Their file, or what `about` said of them; empty for the official ones.

    Attributes
    ----------
    sam
        The network; None until it is needed.
    about
        ``kind`` and ``sha256`` of the weights that it must have.

    Raises
    ------
    UserError
        If there is no such file, or `weights` are another encoder's.
    """

    def __init__(self, kind: str, weights: str | Mapping[str, str] = "") -> None:
        self.sam: FrozenSam | None = None
        self._file: Path | None = None
        if isinstance(weights, Mapping):
            self.about = dict(weights)
        elif weights:
            self._file = find_sam(weights)
            self.about = {"kind": kind, "sha256": check_sam(self._file)}
        else:
            self.about = {"kind": kind, "sha256": SAM_WEIGHTS[kind].sha256}
        if self.about["kind"] != kind:
            raise UserError(
                f"{SAM_WEIGHTS[kind].title} is asked for, and not {self.about['kind']}: leave out "
                "the option sam, or choose the other model."
            )

    def load(self) -> FrozenSam:
        """Return the network.

        Raises
        ------
        UserError
            If its weights are not there, damaged, or others.
        """
        if self.sam is None:
            file = self._file or find_sam_by_sha256(**self.about)
            self.sam = load_sam(file, self.about["kind"])
        return self.sam

    def embed(self, images: Tensor, cache: FeatureCache | None = None) -> Tensor:
        """Compute the embedding of images, at their own resolution, where they are.

        Parameters
        ----------
        images : Tensor
            As `FrozenSam.embed_native` takes them.
        cache : FeatureCache or None
            Keeps what it says of each image; the same comes back.

        Raises
        ------
        UserError
            As `load`.
        """
        batch, _, height, width = images.shape
        if images.is_meta:
            return images.new_empty(batch, _CHANNELS, height // CELL, width // CELL)
        sam = self.load().to(images.device)
        # the surroundings' autocast has no half precision of these on a CPU
        with torch.autocast(images.device.type, enabled=False):
            if cache is None:
                return sam.embed_native(images)
            weights = f"sam {self.about['sha256']}"
            return cache.features(images, lambda of: [sam.embed_native(of)], weights)[0]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # of what never changes, copies of a model need none


def build_sam(kind: str) -> Sam:
    """Build SAM with random weights.

    Parameters
    ----------
    kind : str
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
    source : str or Path
        Name of an image encoder, whose official file is looked for where `fetch_sam` puts it, or
        a file.
    kind : str or None
        Name of the image encoder that the file must be for; None takes what is in it.
    device : torch.device or str
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


def _parts(x: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Split along an axis into parts of whole cells, none of more than SAM's side."""
    cells, limit = x.shape[axis] // CELL, SIDE // CELL
    count = -(-cells // limit)
    edges = [round(i * cells / count) * CELL for i in range(1, count)]
    return x.tensor_split(edges, axis)


def _near(table: Tensor, cells: int) -> Tensor:
    """Cut a table of relative positions, by -63 to 63 cells, to those among so many cells."""
    centre = len(table) // 2
    return table[centre - cells + 1 : centre + cells]


def _with_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    encoder = {k.removeprefix(_ENCODER): v for k, v in state.items() if k.startswith(_ENCODER)}
    rest = {key: value for key, value in state.items() if not key.startswith(_ENCODER)}
    return rest | {_ENCODER + key: value for key, value in rename_weights(encoder).items()}
