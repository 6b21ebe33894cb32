"""From maps to nuclei, and back."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.errors import UserError
from napari_nucleus.models.msanet.graph.shapes import nucleus_shapes
from napari_nucleus.slides.tiles import map_stride


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


def describe_nuclei(labels: np.ndarray, features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the node features of each nucleus of a window.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background.
    features : ndarray of floating
        (C, h, w), as `pool_nuclei` takes them.

    Returns
    -------
    ndarray
        (N, C + 3), mean features and `SHAPE_COLUMNS`, one row per label, in ascending order, with
        the precision in which those of a slide are kept: so an image in memory is typed alike.

    Raises
    ------
    UserError
        If features are not finite.
    """
    with torch.inference_mode():
        visual = pool_nuclei(torch.from_numpy(features)[None], torch.from_numpy(labels)[None])[0]
    described = np.concatenate([visual.numpy(), nucleus_shapes(labels)[1]], axis=1)
    with np.errstate(over="ignore"):
        kept = described.astype(np.float16)
    finite = np.isfinite(kept).all(1)
    if not finite.all():
        raise UserError(
            f"The model's features of {np.sum(~finite)} nuclei are not finite numbers, as its "
            "training went astray: use another checkpoint, or train again at a lower learning rate."
        )
    return kept.astype(np.float32)


def paint_nuclei(values: Tensor, image: Tensor, label: Tensor, labels: Tensor) -> Tensor:
    """Give every pixel of a nucleus the nucleus's values: from (N, K) back to image space.

    Parameters
    ----------
    values : Tensor
        (N, K), such as logits of types.
    image, label : Tensor
        As `pool_nuclei` returns them.
    labels : (B, H, W) Tensor of int
        The labels that were pooled over.

    Returns
    -------
    Tensor
        (B, K, H, W), 0 on the background. Gradients flow back.
    """
    many = int(labels.max()) + 1 if labels.numel() else 1
    row = torch.zeros(len(labels) * many, dtype=torch.long, device=labels.device)
    row[image * many + label] = torch.arange(1, len(values) + 1, device=labels.device)
    images = torch.arange(len(labels), device=labels.device)[:, None, None]
    painted = torch.cat([values.new_zeros(1, values.shape[1]), values])
    return painted[row[images * many + labels.clamp(min=0).long()]].movedim(-1, 1)
