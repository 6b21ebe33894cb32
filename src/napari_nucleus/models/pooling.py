"""Features of nuclei: a network's map, averaged over each of them."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.errors import UserError
from napari_nucleus.slides.tiles import map_stride

FEATURE_STRIDE = 4
"""Pixels per cell of the maps of features: finer ones type nuclei no better, and take room."""

SURROUNDINGS = 7
"""Side in cells of the squares in which a nucleus's surroundings are averaged."""


class Pooled(NamedTuple):
    """The nuclei of a batch, image by image, labels ascending.

    Attributes
    ----------
    visual : Tensor
        (N, C), mean features of each.
    image : (N,) Tensor of int64
        Index in the batch of the image of each nucleus.
    label : (N,) Tensor of int64
        Its label there.
    """

    visual: Tensor
    image: Tensor
    label: Tensor


def pool_nuclei(features: Tensor, labels: Tensor) -> Pooled:
    """Average features over each nucleus's mask, with gradients.

    Every pixel of a nucleus counts with the value of the map that covers it, so that a nucleus
    smaller than a value's cell, even of one pixel, is no special case.

    Parameters
    ----------
    features : Tensor
        (B, C, h, w), where h and w are H and W divided by a power of two, rounded up.
    labels : (B, H, W) Tensor of int
        Nuclei are above 0.

    Returns
    -------
    Pooled
        In float32, whatever precision the features have.
    """
    height, width = features.shape[-2:]
    stride = map_stride((labels.shape[1], labels.shape[2]), (height, width))
    image, y, x = torch.nonzero(labels > 0, as_tuple=True)
    number = labels[image, y, x].long()
    many = int(number.max()) + 1 if len(number) else 1
    nuclei, nucleus, area = torch.unique(
        image * many + number, return_inverse=True, return_counts=True
    )
    cells = len(features) * height * width
    cell = (image * height + y // stride) * width + x // stride
    pairs, shared = torch.unique(nucleus * cells + cell, return_counts=True)
    weights = torch.sparse_coo_tensor(
        torch.stack([pairs // cells, pairs % cells]),
        shared / area[pairs // cells],
        (len(nuclei), cells),
        check_invariants=False,
    )
    with torch.autocast(features.device.type, enabled=False):
        values = features.float().movedim(1, -1).reshape(cells, -1)
        visual = torch.sparse.mm(weights, values)
    return Pooled(visual, nuclei // many, nuclei % many)


def nucleus_means(
    labels: NDArray[np.integer], features: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return the mean of a map of features over each nucleus of a window.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background.
    features : (C, h, w) ndarray of floating
        As `pool_nuclei` takes them.

    Returns
    -------
    (N, C) ndarray of float32
        One row per label, in ascending order, with the precision in which those of a slide are
        kept: so an image in memory is typed alike.

    Raises
    ------
    UserError
        If features are not finite.
    """
    with torch.inference_mode():
        pooled = pool_nuclei(torch.from_numpy(features)[None], torch.from_numpy(labels)[None])
    return _halved(pooled.visual.numpy())


def nucleus_context(
    labels: NDArray[np.integer], features: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return what surrounds each nucleus of a window, and how varied it is itself.

    On these, classes are taught with fewer examples than on means over the nucleus: see
    ``docs/teaching.md``.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background.
    features : (C, h, w) ndarray of floating
        As `pool_nuclei` takes them.

    Returns
    -------
    (N, 2 C) ndarray of float32
        Means over the squares of `SURROUNDINGS` cells around the nucleus's pixels, then standard
        deviations over its pixels. One row per label, in ascending order, as `nucleus_means`.

    Raises
    ------
    UserError
        If features are not finite.
    """
    cells = features.astype(np.float32)
    side = (SURROUNDINGS, SURROUNDINGS)
    around = [cv2.blur(channel, side, borderType=cv2.BORDER_REPLICATE) for channel in cells]
    stacked = torch.from_numpy(np.concatenate([around, cells, cells**2]))
    with torch.inference_mode():
        pooled = pool_nuclei(stacked[None], torch.from_numpy(labels)[None]).visual.numpy()
    surroundings, mean, square = np.split(pooled, 3, axis=1)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    return _halved(np.concatenate([surroundings, spread], axis=1))


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round features of nuclei to half precision, and refuse those that are not finite."""
    with np.errstate(over="ignore"):
        kept = values.astype(np.float16)
    finite = np.isfinite(kept).all(1)
    if not finite.all():
        raise UserError(
            f"The model's features of {np.sum(~finite)} nuclei are not finite numbers, as its "
            "training went astray: use another checkpoint, or train again at a lower learning rate."
        )
    return kept.astype(np.float32)


def feature_cells(hidden: Tensor, size: tuple[int, int], stride: int = 1) -> Tensor:
    """Reduce a hidden layer to the cells of a map of features.

    Parameters
    ----------
    hidden : (B, C, h, w) Tensor of float
        Of the image, padded at the right and at the bottom.
    size : tuple of 2 int
        Height and width of the image in pixels.
    stride : int
        Pixels per value of the layer.

    Returns
    -------
    (B, C, ceil(H / 4), ceil(W / 4)) Tensor of float
        Means of the cells.
    """
    cells = F.avg_pool2d(hidden, FEATURE_STRIDE // stride, ceil_mode=True)
    height, width = (-(-pixels // FEATURE_STRIDE) for pixels in size)
    return cells[..., :height, :width]
