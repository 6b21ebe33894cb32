"""Large images through networks that see a fixed side."""

from collections.abc import Callable

import torch
from torch import Tensor


def see_windows(
    images: Tensor, side: int, stride: int, see: Callable[[Tensor], list[Tensor]]
) -> list[Tensor]:
    """Encode images window by window, and put what was seen side by side.

    Parameters
    ----------
    images
        (B, C, H, W), sides whole numbers of `stride`.
    side
        Of the windows, another; the last of a row or column is moved back to end with the image.
    stride
        Pixels by which the network reduces.
    see
        Maps (B', C, h, w), no larger than a window, to levels (B', D, h / stride, w / stride).

    Returns
    -------
    list of Tensor
        (B, D, H / stride, W / stride) for each level.
    """
    height, width = images.shape[-2:]
    places = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    if len(places) == 1:
        return see(images)
    pieces = [images[..., top : top + side, left : left + side] for top, left in places]
    levels = []
    for level in see(torch.cat(pieces)):
        whole = level.new_empty(len(images), level.shape[1], height // stride, width // stride)
        for (top, left), piece in zip(places, level.chunk(len(places)), strict=True):
            rows = slice(top // stride, top // stride + piece.shape[-2])
            columns = slice(left // stride, left // stride + piece.shape[-1])
            whole[..., rows, columns] = piece
        levels.append(whole)
    return levels


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    starts = list(range(0, length - side + 1, side))
    return starts if starts[-1] + side == length else [*starts, length - side]
