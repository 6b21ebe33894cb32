"""Losses of MSA-Net: types of nuclei, and borders between them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_nucleus.models import losses

TypeLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def type_loss(name: str, gamma: float) -> TypeLoss:
    """Return the loss of nuclei's types that a recipe names.

    Parameters
    ----------
    name : {"dice", "ce_dice", "focal", "focal_dice"}
        A recipe's ``tp_loss``.
    gamma : float
        Focusing of focal losses.

    Returns
    -------
    callable
        Takes logits (N, K), types (N,) from 0, and weights (K,), which focal losses use.
    """

    def focal(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return losses.class_focal(logits, target, weights, gamma)

    def dice(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return losses.dice(*_as_map(logits, target))

    def ce_dice(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return losses.ce_dice(*_as_map(logits, target))

    def focal_dice(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        return focal(logits, target, weights) + dice(logits, target, weights)

    known = {"dice": dice, "ce_dice": ce_dice, "focal": focal, "focal_dice": focal_dice}
    return known[name]


def nucleus_types(
    labels: Tensor, tp: Tensor, typed: Tensor, image: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """Look up the types of the nuclei of a batch.

    Parameters
    ----------
    labels, tp, typed : Tensor
        (B, H, W) of a `Batch`.
    image, label : Tensor
        (N,), as `pool_nuclei` returns them.

    Returns
    -------
    target
        Int64 (N,), from 0.
    known
        Bool (N,), whether a nucleus has a type that is known.
    """
    inside = labels > 0
    rows = torch.nonzero(inside)[:, 0], labels[inside].long()
    table = torch.zeros(len(labels), int(labels.max()) + 1, dtype=torch.long, device=labels.device)
    table[rows] = torch.where(typed[inside], tp[inside], 0)
    types = table[image, label]
    return types - 1, types > 0


def border_pixels(labels: Tensor) -> Tensor:
    """Mark the borders between nuclei.

    Parameters
    ----------
    labels : (B, H, W) Tensor of int
        0 is background, -1 ignored.

    Returns
    -------
    (B, H, W) Tensor of int64
        1 on nucleus pixels with another nucleus within two pixels, else 0.
    """
    x = labels[:, None].float()
    highest = F.max_pool2d(x, 5, 1, 2)
    lowest = -F.max_pool2d(-torch.where(x > 0, x, torch.inf), 5, 1, 2)
    return ((highest != lowest) & (x > 0))[:, 0].long()


def _as_map(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return nuclei as if they were the pixels of one image, and that all of them count."""
    pixels = target[None, :, None]
    return logits.T[None, :, :, None], pixels, torch.ones_like(pixels, dtype=torch.bool)
