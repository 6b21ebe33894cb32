"""What passes from the sampler over the augmentation to the network."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """Patches as they were cut, with a margin from which they can be turned and enlarged.

    Attributes
    ----------
    images
        Uint8 (B, S, S, 3), RGB; beyond the edge of an image its last pixels are repeated.
    labels
        Int32 (B, S, S), the image's labels, 0 is background; -1 beyond the edge and in ignored
        background.
    types
        Uint8 (B, N + 1), type index by label; 0 for the background, `UNKNOWN` where no type is
        given.
    doubtful
        Bool (B, N + 1), by label: nuclei that may be several.
    names
        ``"dataset/image"`` that each was cut from.
    """

    images: Tensor
    labels: Tensor
    types: Tensor
    doubtful: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device | str) -> "Crops":
        """Return them on another device."""
        tensors = (self.images, self.labels, self.types, self.doubtful)
        images, labels, types, doubtful = (of.to(device, non_blocking=True) for of in tensors)
        return Crops(images, labels, types, doubtful, self.names)


@dataclass
class Batch:
    """Patches as the network sees them, and what it should say of them.

    Attributes
    ----------
    images
        Float (B, 3, P, P) in [0, 1].
    np
        Int (B, P, P), 1 inside nuclei.
    hv
        Float (B, 2, P, P), distance maps.
    tp
        Int (B, P, P), type index; 0 is background.
    seen
        Bool (B, P, P), pixels that lie in the image and are not ignored.
    shaped
        Bool (B, P, P), pixels whose shape (`hv`) can be trusted.
    typed
        Bool (B, P, P), pixels whose type is known.
    labels
        Int32 (B, P, P), which nucleus; 0 is background.
    names
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
