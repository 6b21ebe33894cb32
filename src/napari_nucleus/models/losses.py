"""Losses, shared by all models. Each takes logits and averages over the pixels that count."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` is true, and 0 where nothing is.

    Parameters
    ----------
    values : Tensor
        Any shape.
    mask : Tensor of bool
        Of a shape that can be expanded to that of `values`.

    Returns
    -------
    Tensor
        Scalar.
    """
    mask = mask.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of pixels.

    Parameters
    ----------
    logits : (B, C, H, W) Tensor of float
        Unnormalised.
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.

    Returns
    -------
    Tensor
        Scalar.
    """
    return masked_mean(F.cross_entropy(logits, target, reduction="none"), mask)


def dice(
    logits: Tensor, target: Tensor, mask: Tensor, smooth: float = 1.0, only_present: bool = False
) -> Tensor:
    """Soft Dice loss, 1 - 2 |X ∩ Y| / (|X| + |Y|) over the whole batch, the mean over classes.

    Parameters
    ----------
    logits : (B, C, H, W) Tensor of float
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    smooth : float
        Keeps a class that does not occur from dividing by zero.
    only_present : bool
        Whether the mean is over the classes of which there is a pixel that counts.
    """
    probability = logits.softmax(1) * mask[:, None]
    truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1) * mask[:, None]
    overlap = (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    loss = 1 - (2 * overlap + smooth) / (total + smooth)
    return masked_mean(loss, truth.sum((0, 2, 3)) > 0) if only_present else loss.mean()


def ce_dice(
    logits: Tensor, target: Tensor, mask: Tensor, weights: tuple[float, ...] | None = None
) -> Tensor:
    """Cross-entropy plus Dice, as HoVer-Net has it (Graham et al. 2019).

    Parameters
    ----------
    logits : (B, C, H, W) Tensor of float
        Unnormalised.
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    weights : tuple of float or None
        Weight of each class's pixels in the cross-entropy, whose mean is over weights. With them,
        Dice leaves out classes of which the batch has no pixel: it would teach that rare ones do
        not exist.

    Returns
    -------
    Tensor
        Scalar.
    """
    if weights is None:
        return cross_entropy(logits, target, mask) + dice(logits, target, mask)
    weight = torch.tensor(weights, device=logits.device)[target] * mask
    ce = F.cross_entropy(logits, target, reduction="none")
    weighted = (ce * weight).sum() / weight.sum().clamp(min=1)
    return weighted + dice(logits, target, mask, only_present=True)


def asymmetric(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    gamma_pos: float = 1.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
) -> Tensor:
    """HistoNeXt's loss of the nucleus branch (equation 6).

    Parameters
    ----------
    logits : (B, 2, H, W) Tensor of float
    target : (B, H, W) Tensor of int
        1 in nuclei.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    gamma_pos, gamma_neg : float
        Focusing of nucleus and of background pixels; 1.0 is the paper's final configuration, 0.5
        the one of its ablation.
    clip : float
        Predictions are kept within [clip, 1 - clip].
    """
    p = logits.softmax(1)[:, 1].clamp(clip, 1 - clip)
    loss = torch.where(
        target == 1, -((1 - p) ** gamma_pos) * p.log(), -(p**gamma_neg) * (1 - p).log()
    )
    return masked_mean(loss, mask)


def asymmetric_dice(logits: Tensor, target: Tensor, mask: Tensor, gamma_pos: float = 1.0) -> Tensor:
    """Asymmetric loss plus Dice (HistoNeXt, Table 2).

    Parameters
    ----------
    logits : (B, 2, H, W) Tensor of float
        Unnormalised.
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    gamma_pos : float
        As `asymmetric` takes it.

    Returns
    -------
    Tensor
        Scalar.
    """
    return asymmetric(logits, target, mask, gamma_pos) + dice(logits, target, mask)


def focal(
    logits: Tensor, target: Tensor, mask: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss of pixels (HistoNeXt, equation 10).

    Parameters
    ----------
    logits : (B, C, H, W) Tensor of float
        Unnormalised.
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    alpha : float
        Weight of all pixels.
    gamma : float
        Focusing.

    Returns
    -------
    Tensor
        Scalar.
    """
    ce = F.cross_entropy(logits, target, reduction="none")
    return masked_mean(alpha * (1 - torch.exp(-ce)) ** gamma * ce, mask)


def focal_dice(logits: Tensor, target: Tensor, mask: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss plus Dice (HistoNeXt, Table 2).

    Parameters
    ----------
    logits : (B, C, H, W) Tensor of float
        Unnormalised.
    target : (B, H, W) Tensor of int
        Class per pixel.
    mask : (B, H, W) Tensor of bool
        Pixels that count.
    gamma : float
        Focusing.

    Returns
    -------
    Tensor
        Scalar.
    """
    return focal(logits, target, mask, gamma=gamma) + dice(logits, target, mask)


def class_focal(logits: Tensor, target: Tensor, weights: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of nuclei, weighted by type (MSA-Net, equation 7).

    Parameters
    ----------
    logits : (N, K) Tensor of float
        N may be 0, where the loss is.
    target : (N,) Tensor of int
        Type of each, from 0.
    weights : (K,) Tensor of float
        τ.
    gamma : float
        Focusing.
    """
    ce = F.cross_entropy(logits, target, reduction="none")
    return (weights[target] * (1 - torch.exp(-ce)) ** gamma * ce).sum() / max(len(target), 1)


def distillation(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Mean distance of normalised features (MSA-Net, equation 8).

    Parameters
    ----------
    student, teacher : (B, C, h, w) Tensor of float
        Of each selected layer; every place's features are brought to unit
        length.
    """
    distances = [
        (F.normalize(own.float(), dim=1) - F.normalize(other.float(), dim=1)).norm(dim=1).mean()
        for own, other in zip(student, teacher, strict=True)
    ]
    return torch.stack(distances).mean()


def mse(pred: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of maps (HistoNeXt, equation 8).

    Parameters
    ----------
    pred, true : (B, C, H, W) Tensor of float
        Maps.
    mask : (B, H, W) Tensor of bool
        Pixels that count.

    Returns
    -------
    Tensor
        Scalar.
    """
    return masked_mean((pred - true) ** 2, mask[:, None])


def msge(pred: Tensor, true: Tensor, focus: Tensor) -> Tensor:
    """Mean squared error of the distance maps' gradients inside nuclei (equation 9).

    Parameters
    ----------
    pred, true : (B, 2, H, W) Tensor of float
        Horizontal and vertical distance.
    focus : (B, H, W) Tensor of bool
        True inside nuclei.
    """
    horizontal = _sobel(pred.device)
    kernels = torch.stack([horizontal, horizontal.T])[:, None]
    difference = F.conv2d(pred - true, kernels, padding=2, groups=2)
    return masked_mean(difference**2, focus[:, None])


def _sobel(device: torch.device) -> Tensor:
    """Return HoVer-Net's 5x5 kernel: x / (x² + y²)."""
    steps = torch.arange(-2.0, 3.0, device=device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x / (x**2 + y**2).clamp(min=1)
