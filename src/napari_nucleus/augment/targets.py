"""Training targets, computed from labels on the device after augmentation."""

import torch
from torch import Tensor


def hv_targets(labels: Tensor) -> Tensor:
    """Compute HoVer-Net's distance maps of a batch of label images.

    Every pixel of a nucleus holds its horizontal and vertical offset from the nucleus's centroid,
    scaled so that the farthest pixels on either side are -1 and 1 (Graham et al. 2019).

    Parameters
    ----------
    labels : (B, H, W) Tensor of int
        0 is background.

    Returns
    -------
    Tensor
        Float32 (B, 2, H, W): horizontal, vertical; 0 in the background.
    """
    batch, height, width = labels.shape
    device = labels.device
    number = torch.arange(batch, device=device).view(-1, 1, 1) * (int(labels.max()) + 1)
    inside = labels > 0
    _, index = torch.unique((labels + number)[inside], return_inverse=True)
    maps = torch.zeros(batch, 2, height, width, device=device)
    if not len(index):
        return maps
    count = torch.bincount(index)
    ys = torch.arange(height, device=device, dtype=torch.float32).view(1, -1, 1)
    xs = torch.arange(width, device=device, dtype=torch.float32).view(1, 1, -1)
    for channel, steps in enumerate((xs, ys)):
        position = steps.expand_as(labels)[inside]
        offset = position - (torch.bincount(index, position) / count)[index]
        low = torch.zeros(len(count), device=device).scatter_reduce(0, index, offset, "amin")
        high = torch.zeros(len(count), device=device).scatter_reduce(0, index, offset, "amax")
        extent = torch.where(offset < 0, -low[index], high[index]).clamp(min=1e-3)
        maps[:, channel][inside] = (offset / extent).to(maps.dtype)
    return maps
