"""From maps to nuclei, and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.models.msanet.graph.shapes import nucleus_shapes
from napari_nucleus.models.pooling import nucleus_means


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
        (N, C + 3), `nucleus_means` and `SHAPE_COLUMNS`, one row per label, in ascending order.

    Raises
    ------
    UserError
        If features are not finite.
    """
    shapes = nucleus_shapes(labels)[1].astype(np.float16).astype(np.float32)
    return np.concatenate([nucleus_means(labels, features), shapes], axis=1)


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
