"""CLIP, frozen: a teacher of images, and an encoder of sentences.

Paper: Radford et al. "Learning transferable visual models from natural language supervision",
ICML 2021. Code and names of weights: open_clip (MIT). The weights do not ship.

A CLIP is named ``"ARCHITECTURE/WEIGHTS"``. Weights are a tag of open_clip's, which its hub knows
(``"ViT-B-16/openai"``), a file, as pathology CLIPs come (``"ViT-B-16//home/me/quilt.safetensors"``,
looked for in `trained_dir` by its name where it is not there), or `UNTRAINED`.

Untrained weights come from NumPy's frozen stream of uniform numbers, by name and shape of each, so
that they are the same bits on every machine and with every version of PyTorch and open_clip: a
model that was trained with them needs no copy to give the same answers again.
"""

import logging
import math
import zlib
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.func import functional_call

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256 as file_sha256
from napari_nucleus.weights.hub import fetch_weights
from napari_nucleus.weights.store import trained_dir

UNTRAINED = "untrained-seed0"
"""Name of the weights that are made where there are none."""

SMALL = "ViT-XS-16"
"""An architecture of ours, for compact models and tests."""

PATCH = 16
"""Pixels by which the image encoder reduces."""

_OWN: dict[str, dict[str, Any]] = {
    SMALL: {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 4, "width": 192, "patch_size": PATCH},
        "text_cfg": {"width": 128, "heads": 2, "layers": 2},
    }
}
_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_log = logging.getLogger(__name__)


class FrozenClip:
    """CLIP as a tool that never learns.

    It is no module on purpose: a model that holds one neither trains it, nor gives it to the
    optimizer, nor saves it; copies of the model share it.

    Parameters
    ----------
    network : open_clip.CLIP
        Taken over: put into evaluation mode, without gradients.
    name : str
        As `load_clip` takes it.
    sha256 : str
        Of its weights; empty for untrained ones, which the name tells.
    """

    def __init__(self, network: open_clip.CLIP, name: str, sha256: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.name = name
        self.sha256 = sha256
        self.tokenizer = open_clip.SimpleTokenizer(context_length=network.context_length)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    def width(self) -> int:
        """Length of the features of a patch and of a sentence."""
        return int(self.network.visual.output_dim)

    @property
    def depth(self) -> int:
        """Layers of the image encoder."""
        return len(self.network.visual.transformer.resblocks)

    def to(self, device: torch.device | str) -> Self:
        """Move it to a device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        FrozenClip
            Itself.
        """
        self.network.to(device)
        return self

    @torch.no_grad()
    def patches(self, images: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """Return features of patches, as `patch_features` does.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            As `patch_features` takes them.
        layers : tuple of int
            Layers of the image encoder, from 1.

        Returns
        -------
        list of Tensor
            (B, D, H / 16, W / 16) of each layer.
        """
        return patch_features(self.to(images.device).network.visual, images, layers)

    @torch.no_grad()
    def sentences(self, texts: list[str]) -> Tensor:
        """Return features of sentences.

        Parameters
        ----------
        texts : list of str
            M sentences.

        Returns
        -------
        (M, width) Tensor of float32
            Of unit length, on the device that CLIP was moved to.
        """
        places, mask = self.network.positional_embedding, self.network.attn_mask
        tokens = self.tokenizer(texts).to(places.device)
        # Words hear from those before them alone, and the last one speaks for all: what pads them
        # to the context's length, three quarters of it, need not be read.
        last = int(tokens.argmax(1).max()) + 1
        short = {"positional_embedding": places[:last], "attn_mask": mask[:last, :last]}
        return functional_call(self.network, short, (None, tokens[:, :last]))[1].float()


def patch_features(visual: nn.Module, images: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
    """Return what an image encoder says of every patch, where CLIP itself reads the class alone.

    Patch tokens pass through the encoder's own last normalisation and projection.

    Parameters
    ----------
    visual : nn.Module
        open_clip's image encoder.
    images : (B, 3, H, W) Tensor of float
        In [0, 1]. sides whole numbers of `PATCH`.
    layers : tuple of int
        After which layers, from 1, in ascending order.

    Returns
    -------
    list of Tensor
        (B, width, H / 16, W / 16) for each of `layers`.
    """
    cfg: Any = visual
    mean, std = (
        images.new_tensor(values).view(1, 3, 1, 1)
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    x = cfg.conv1((images - mean) / std)
    grid = list(x.shape[-2:])
    first = cfg.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    x = torch.cat([first, x.flatten(2).mT], 1)
    position = cfg.positional_embedding[None]
    if grid != list(cfg.grid_size):
        position = resample_abs_pos_embed(position, grid, list(cfg.grid_size))
    x = cfg.ln_pre(x + position.to(x.dtype))
    found = []
    for number, block in enumerate(cfg.transformer.resblocks[: layers[-1]], 1):
        x = block(x)
        if number in layers:
            patches = F.linear(cfg.ln_post(x[:, 1:].contiguous()), cfg.proj.T)
            found.append(patches.mT.unflatten(2, grid))
    return found


def load_clip(name: str, sha256: str = "") -> FrozenClip:
    """Load or make a CLIP.

    Parameters
    ----------
    name : str
        ``"ARCHITECTURE/WEIGHTS"``, see this file's head.
    sha256 : str
        What the file of its weights must have; empty where any will do.

    Raises
    ------
    UserError
        If there is no such architecture or weights, they do not fit, or are others than those of
        `sha256`.
    """
    architecture, _, weights = name.partition("/")
    network = build_clip(architecture, _quick(architecture, weights))
    if weights == UNTRAINED:
        if not network.positional_embedding.is_meta:
            _make_weights(network)
        return FrozenClip(network, name)
    path = _find(architecture, weights)
    found = file_sha256(path)
    if sha256 and found != sha256:
        raise UserError(
            f"The model was trained with the CLIP {name} of SHA-256 {sha256[:12]}…, and {path} is "
            f"another ({found[:12]}…): put the right one in its place."
        )
    try:
        open_clip.load_checkpoint(network, str(path), weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, UnpicklingError, SafetensorError) as error:
        raise UserError(
            f"{path} holds no weights of a CLIP {architecture}, or is damaged: choose another file "
            "or architecture."
        ) from error
    return FrozenClip(network, name, found)


def choose_clip(name: str | None, default: str, sha256: str, pretrained: bool) -> FrozenClip:
    """Return the CLIP that a model shall have.

    Parameters
    ----------
    name : str or None
        As `load_clip` takes it; None leaves the choice to the other parameters.
    default : str
        The name where none is given.
    sha256 : str
        As `load_clip` takes it; empty where nothing was trained yet.
    pretrained : bool
        Whether weights may be fetched. Where none is given, `UNTRAINED` are made if not; and if the
        hub does not give them, a log line saying so.

    Raises
    ------
    UserError
        As `load_clip`.
    """
    architecture, _, weights = (name or default).partition("/")
    untrained = f"{architecture}/{UNTRAINED}"
    if name is None and not pretrained:
        return load_clip(untrained)
    by_tag = bool(open_clip.get_pretrained_cfg(architecture, weights))
    try:
        return load_clip(name or default, sha256)
    except UserError as error:
        if not pretrained or sha256 or not by_tag:
            raise
        _log.warning(
            "%s Text encoder and teacher are untrained (%s): they know nothing of tissue.",
            error,
            untrained,
        )
        return load_clip(untrained)


def build_clip(architecture: str, quick_gelu: bool = False) -> open_clip.CLIP:
    """Build a CLIP with random weights.

    Parameters
    ----------
    architecture : str
        Name in open_clip, such as ``"ViT-B-16"``.
    quick_gelu : bool
        Whether its activation is the quick GELU.

    Raises
    ------
    UserError
        If open_clip has no such architecture, or it is no ViT of open_clip's own with patches of
        16 px.
    """
    config = _OWN.get(architecture) or open_clip.get_model_config(architecture)
    if config is None:
        raise UserError(
            f"There is no CLIP {architecture!r}: give ARCHITECTURE/WEIGHTS, such as "
            "ViT-B-16/openai."
        )
    if config["vision_cfg"].get("patch_size") != PATCH or not {"width", "heads"} <= set(
        config["text_cfg"]
    ):
        raise UserError(
            f"The CLIP {architecture} is no ViT with patches of {PATCH} px: choose ViT-B-16, or "
            "another that is."
        )
    known = ("embed_dim", "vision_cfg", "text_cfg")
    quick_gelu = quick_gelu or config.get("quick_gelu", False)
    return open_clip.CLIP(**{key: config[key] for key in known}, quick_gelu=quick_gelu)


def _quick(architecture: str, weights: str) -> bool:
    """Tell whether weights were trained with the quick GELU, as OpenAI's were."""
    return bool(open_clip.get_pretrained_cfg(architecture, weights).get("quick_gelu"))


def _find(architecture: str, weights: str) -> Path:
    """Return the file of weights given by tag or path."""
    if config := open_clip.get_pretrained_cfg(architecture, weights):
        repository, _, filename = config.get("hf_hub", "").rpartition("/")
        if not repository:
            raise UserError(f"The CLIP {architecture}/{weights} is not on the hub: give its file.")
        if filename:
            return fetch_weights(repository, filename)
        try:
            return fetch_weights(repository, _FILES[0])
        except UserError:
            return fetch_weights(repository, _FILES[1])
    path = Path(weights)
    for candidate in (path, trained_dir() / path.name):
        if weights and candidate.is_file():
            return candidate
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
    raise UserError(
        f"There are no CLIP weights {weights!r}: give a file, put it into {trained_dir()}, or "
        f"choose a tag of {architecture} ({tags})."
    )


def _make_weights(network: nn.Module, seed: int = 0) -> None:
    """Fill a network with numbers that depend on nothing but names, shapes and the seed."""
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2 and "embedding" not in name:
            with torch.no_grad():
                parameter.fill_(float("weight" in name))
            continue
        fan = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
        # of a RandomState alone NumPy promises the same stream for ever
        stream = np.random.RandomState([seed, zlib.crc32(name.encode())])
        values = stream.random_sample(parameter.numel()) * 2 - 1
        values *= math.sqrt(3 / fan)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values).view(parameter.shape))
