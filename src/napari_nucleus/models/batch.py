"""Patches on their way from the sampler through augmentation to the network."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """Patches as they were cut, with a margin from which they can be turned and enlarged.

    Attributes
    ----------
    images : (B, S, S, 3) Tensor of uint8
        RGB; beyond the edge of an image its last pixels are repeated.
    labels : (B, S, S) Tensor of int32
        The image's labels, 0 is background; -1 beyond the edge and in ignored
        background.
    types : (B, N + 1) Tensor of uint8
        Type index by label; 0 for the background, `UNKNOWN` where no type is
        given.
    doubtful : (B, N + 1) Tensor of bool
        By label: nuclei that may be several.
    names : tuple of str
        ``"dataset/image"`` that each was cut from.
    """

    images: Tensor
    labels: Tensor
    types: Tensor
    doubtful: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "Crops":
        """Return them on another device.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        Crops
            The same patches.
        """
        tensors = (self.images, self.labels, self.types, self.doubtful)
        images, labels, types, doubtful = (
            tensor.to(device, non_blocking=True) for tensor in tensors
        )
        return Crops(images, labels, types, doubtful, self.names)


@dataclass
class Batch:
    """Patches as the network sees them, and what it should say of them.

    Attributes
    ----------
    images : (B, 3, P, P) Tensor of float
        In [0, 1].
    np : (B, P, P) Tensor of int
        1 inside nuclei.
    hv : (B, 2, P, P) Tensor of float
        Distance maps.
    tp : (B, P, P) Tensor of int
        Type index; 0 is background.
    seen : (B, P, P) Tensor of bool
        Pixels that lie in the image and are not ignored.
    shaped : (B, P, P) Tensor of bool
        Pixels whose shape (`hv`) can be trusted.
    typed : (B, P, P) Tensor of bool
        Pixels whose type is known.
    labels : (B, P, P) Tensor of int32
        Which nucleus; 0 is background.
    names : tuple of str
        ``"dataset/image"`` that each was cut from.
    """

    images: Tensor
    np: Tensor
    hv: Tensor
    tp: Tensor
    seen: Tensor
    shaped: Tensor
    typed: Tensor
    labels: Tensor
    names: tuple[str, ...]
