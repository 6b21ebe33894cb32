"""What every model promises to the rest of the house."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from napari_nucleus.devices import autocast_dtype


class NucleusModel(nn.Module, ABC):
    """A network with the knowledge of how its maps become nuclei.

    What it learns in lies in submodules. Those named ``encoder`` and ``tp`` are what training
    knows as the encoder and the type branch; parameters that never learn need no gradient from the
    start.

    Attributes
    ----------
    name
        Name in the registry, set by `create_model`.
    types
        Names of the nucleus types, without background; empty if the model only segments.
    options
        Keyword arguments that rebuild the same architecture through `create_model`.
    mpp
        Micrometres per pixel that the network expects.
    instances
        Constants of the post-processing, fitted on validation images.
    card
        Model card: data, licence, scores, version, command.
    sha256
        Of the checkpoint that it was loaded from; empty where there is none.
    """

    name: str
    types: tuple[str, ...]
    options: dict[str, Any]
    mpp: float
    instances: dict[str, Any]
    card: dict[str, Any]
    sha256: str

    def __init__(self, types: tuple[str, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.types = types
        self.options = options
        self.mpp = 0.25
        self.instances = {}
        self.card = {}
        self.sha256 = ""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images to logits.

        Parameters
        ----------
        images
            Float (B, 3, H, W) in [0, 1], RGB, any H and W.

        Returns
        -------
        dict
            ``np`` (B, 2, H, W) logits of background and nucleus; where the paper has them ``hv``
            (B, 2, H, W), horizontal and vertical distance in [-1, 1], and ``tp``
            (B, K + 1, H, W), logits of background and the types.
        """
        height, width = images.shape[-2:]
        return self.decode(self.encode(images), (height, width))

    @abstractmethod
    def encode(self, images: Tensor) -> list[Tensor]:
        """Map images to what the decoder needs, the part that training may keep frozen.

        Parameters
        ----------
        images
            As `forward` takes them.

        Returns
        -------
        list of Tensor
            (B, ...) each; what they hold is the model's own affair.
        """

    @abstractmethod
    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Map features to logits.

        Parameters
        ----------
        features
            As `encode` returns them.
        size
            Height and width of the images in pixels.

        Returns
        -------
        dict
            As `forward` returns.
        """

    @abstractmethod
    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Reduce logits to what `nuclei` needs, still on the device.

        Returns
        -------
        dict
            ``np`` (B, H, W) float probability of nucleus, and what else the paper has.
        """

    @abstractmethod
    def nuclei(self, maps: dict[str, np.ndarray]) -> tuple[np.ndarray, pd.DataFrame]:
        """Turn the maps of one image into nuclei.

        Parameters
        ----------
        maps
            As `maps` gives them, without the batch axis.

        Returns
        -------
        labels
            Int32 (H, W), 0 is background.
        table
            One row per nucleus; at least ``label``, ``type`` (name), ``type_prob``,
            ``centroid_x``, ``centroid_y``.
        """

    @property
    def threshold(self) -> float:
        """Probability from which on a pixel belongs to a nucleus."""
        return float(self.instances.get("np_threshold", 0.5))

    @torch.inference_mode()
    def predict(self, images: Tensor) -> list[dict[str, np.ndarray]]:
        """Compute the maps of each image of a batch, in mixed precision.

        Parameters
        ----------
        images
            Uint8 (B, 3, H, W) on any device.

        Returns
        -------
        list of dict
            For every image what `nuclei` takes.
        """
        device = next(self.parameters()).device
        batch = images.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=autocast_dtype(device)):
            logits = self(batch)
        maps = {key: value.cpu().numpy() for key, value in self.maps(logits).items()}
        return [{key: value[i] for key, value in maps.items()} for i in range(len(images))]
