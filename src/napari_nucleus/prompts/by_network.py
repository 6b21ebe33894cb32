"""A nucleus that the network has all but found, from one click."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_nucleus.edits.shapes import Mask
from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box, Grid

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel

# From threshold to threshold.
_STEP = 0.75

# Below this the network is as sure of background as it gets.
_FLOOR = 0.02

# Half a side of what the network sees around the point, in its pixels: wider than any nucleus.
_REACH = 128

_NOTHING = "The network sees no nucleus there: paint it, or draw a box around it."


class Outline(NamedTuple):
    """A nucleus on a slide.

    Attributes
    ----------
    mask : (H, W) ndarray of bool
        Its pixels of level 0.
    x, y : int
        Level-0 pixel of the first one of the mask.
    """

    mask: Mask
    x: int
    y: int


def nucleus_at(
    network: "NucleusModel", maps: dict[str, np.ndarray], x: int, y: int
) -> tuple[Mask, float]:
    """Find the nucleus at a point of a network's maps, however unsure the network is of it.

    The threshold of the network's post-processing is lowered until a nucleus holds the point; one
    that is found in this way reaches as far as half of its highest probability. The
    post-processing separates it from its neighbours.

    Parameters
    ----------
    network : NucleusModel
        Its post-processing is used.
    maps : dict of str to ndarray
        As `NucleusModel.find` takes them.
    x, y : int
        Column and row of the point.

    Returns
    -------
    mask : (H, W) ndarray of bool
        Pixels of the nucleus.
    threshold : float
        Probability from which on pixels were taken.

    Raises
    ------
    UserError
        If the network sees nothing there.
    """
    threshold = network.threshold
    while not (mask := _mask_at(network, maps, x, y, threshold)).any():
        threshold *= _STEP
        if threshold < _FLOOR:
            raise UserError(_NOTHING)
    # What just reaches the point may be no more than the peak of a faint nucleus.
    half = float(maps["np"][mask].max()) / 2
    if half < threshold < network.threshold:
        whole = _mask_at(network, maps, x, y, half)
        if whole.any():
            return whole, half
    return mask, threshold


def _mask_at(
    network: "NucleusModel", maps: dict[str, np.ndarray], x: int, y: int, threshold: float
) -> Mask:
    """Return the pixels of the nucleus at a point; none where there is none."""
    labels, _ = network.find(maps, threshold)
    return (labels == labels[y, x]) & (labels > 0)


def propose_nucleus(
    slide: Slide, network: "NucleusModel", x: float, y: float, mpp: float
) -> Outline:
    """Let a network outline the nucleus at a point of a slide.

    Parameters
    ----------
    slide : Slide
        The image.
    network : NucleusModel
        In evaluation mode.
    x, y : float
        The point, in level-0 pixels whose centres have whole coordinates.
    mpp : float
        µm per level-0 pixel.

    Returns
    -------
    Outline
        The nucleus, in level-0 pixels.

    Raises
    ------
    UserError
        If the network sees nothing there.
    """
    import torch

    height, width = slide.shape
    grid = Grid((height, width), network.mpp / mpp)
    column, row = (int((value + 0.5) / grid.scale) for value in (x, y))
    window = Box(column - _REACH, row - _REACH, column + _REACH, row + _REACH)
    pixels = slide.read_scaled(grid.on_slide(window), (2 * _REACH, 2 * _REACH))
    (maps,) = network.predict(torch.from_numpy(pixels.copy()).movedim(-1, 0)[None])
    mask, threshold = nucleus_at(network, maps, _REACH, _REACH)
    labels, box = grid.to_slide(mask.astype(np.int32), maps["np"], threshold, window)
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(rows):
        raise UserError(_NOTHING)
    top, left = int(rows[0]), int(columns[0])
    mask = labels[top : rows[-1] + 1, left : columns[-1] + 1] > 0
    return Outline(mask, box.x0 + left, box.y0 + top)
