"""Large images through networks that see a fixed side."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_AT_ONCE = 16
"""Windows answered at once, so that a large image does not take more memory than a batch."""


def see_windows(
    images: Tensor, side: int, stride: int, see: Callable[[Tensor], list[Tensor]]
) -> list[Tensor]:
    """Encode images window by window, and put what was seen side by side.

    Parameters
    ----------
    images : Tensor
        (B, C, H, W), sides whole numbers of `stride`.
    side : int
        Of the windows, another; the last of a row or column is moved back to end with the image.
    stride : int
        Pixels by which the network reduces.
    see : callable
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


def answer_windows(
    images: Tensor, side: int, edge: int, answer: Callable[[Tensor], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Answer images window by window, and put the middles of the answers side by side.

    A place's answer depends on its window alone, not on how much of the image is looked at: from
    any whole number of middles, ``side - 2 * edge``, an image may be cut without a difference.

    Parameters
    ----------
    images : Tensor
        (B, C, H, W).
    side : int
        Of the windows. Beyond the images, their outermost pixels go on.
    edge : int
        What is answered but not kept, on each side of a window.
    answer : callable
        Maps (B', C, side, side) to maps (B', D, side / s, side / s), each at a stride s that parts
        `side` and `edge` evenly.

    Returns
    -------
    dict
        Maps (B, D, H / s, W / s), rounded up.
    """
    height, width = images.shape[-2:]
    middle = side - 2 * edge
    rows, columns = -(-height // middle), -(-width // middle)
    beyond = (edge, columns * middle - width + edge, edge, rows * middle - height + edge)
    padded = F.pad(images, beyond, mode="replicate")
    windows = padded.unfold(2, side, middle).unfold(3, side, middle)
    windows = windows.permute(2, 3, 0, 1, 4, 5).flatten(0, 2)
    answers = [answer(some) for some in windows.split(_AT_ONCE)]
    whole = {}
    for key in answers[0]:
        parts = torch.cat([of_some[key] for of_some in answers])
        stride = side // parts.shape[-1]
        kept = slice(edge // stride, (side - edge) // stride)
        parts = parts[..., kept, kept].unflatten(0, (rows, columns, len(images)))
        joined = parts.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
        whole[key] = joined[..., : -(-height // stride), : -(-width // stride)]
    return whole


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    starts = list(range(0, length - side + 1, side))
    return starts if starts[-1] + side == length else [*starts, length - side]
