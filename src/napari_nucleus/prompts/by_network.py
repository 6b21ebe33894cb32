"""A nucleus that the network has all but found, from one click."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_nucleus.edits.shapes import Mask
from napari_nucleus.errors import UserError
from napari_nucleus.instances import hover_instances
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


class Found(NamedTuple):
    """A nucleus in a network's maps.

    Attributes
    ----------
    mask : Mask
        Bool (H, W).
    threshold : float
        Of the probability, at which it was found.
    type : int
        The most frequent type of its pixels, 0 where there are none.
    """

    mask: Mask
    threshold: float
    type: int


class Proposal(NamedTuple):
    """A nucleus that may be added.

    Attributes
    ----------
    mask : Mask
        Bool (H, W).
    x, y : int
        Place of its first pixel.
    type : int
        Number of the type, 0 where the network knows none.
    """

    mask: Mask
    x: int
    y: int
    type: int


def nucleus_at(maps: Mapping[str, np.ndarray], x: int, y: int, **instances: Any) -> Found:
    """Find the nucleus at a point of a network's maps, however unsure the network is of it.

    The threshold of `hover_instances` is lowered until a nucleus holds the point; one that is found
    in this way reaches as far as half of its highest probability. The watershed of the HV maps
    keeps it apart from its neighbours.

    Parameters
    ----------
    maps : mapping of str to ndarray
        ``np`` (H, W), probability of nucleus; ``hv`` (2, H, W), horizontal and vertical distance
        to the centre, -1 to 1; where there are types, ``tp`` (H, W) integers, 0 for background.
    x, y : int
        The point: column and row.
    **instances : Any
        Constants of the post-processing, as the model has them.

    Raises
    ------
    UserError
        If the network sees nothing there, or has no HV maps.
    """
    if "hv" not in maps:
        raise UserError("This model cannot outline a nucleus from a click: paint it.")
    usual = level = instances.pop("np_threshold", 0.5)
    while (found := _nucleus(maps, x, y, level, instances)) is None:
        level *= _STEP
        if level < _FLOOR:
            raise UserError(_NOTHING)
    # What just reaches the point may be no more than the peak of a faint nucleus.
    half = float(maps["np"][found.mask].max()) / 2
    if half < level < usual:
        found = _nucleus(maps, x, y, half, instances) or found
    return found


def _nucleus(
    maps: Mapping[str, np.ndarray], x: int, y: int, level: float, instances: dict[str, Any]
) -> Found | None:
    labels, table = hover_instances(
        maps["np"], maps["hv"], maps.get("tp"), np_threshold=level, **instances
    )
    label = labels[y, x]
    if not label:
        return None
    return Found(labels == label, level, int(table.loc[table["label"] == label, "type"].item()))


def propose_nucleus(
    slide: Slide, network: "NucleusModel", x: float, y: float, mpp: float
) -> Proposal:
    """Let a network outline the nucleus at a point of a slide.

    Parameters
    ----------
    slide : Slide
        The image.
    network : NucleusModel
        In evaluation mode, one with HV maps.
    x, y : float
        The point, in level-0 pixels whose centres have whole coordinates.
    mpp : float
        µm per level-0 pixel.

    Returns
    -------
    Proposal
        In level-0 pixels, with the number of the type among the network's, from 1 on.

    Raises
    ------
    UserError
        If the network sees nothing there, or has no HV maps.
    """
    import torch

    height, width = slide.shape
    grid = Grid(Box(0, 0, width, height), (height, width), network.mpp / mpp)
    column, row = (int((place + 0.5) / grid.scale) for place in (x, y))
    window = Box(column - _REACH, row - _REACH, column + _REACH, row + _REACH)
    pixels = slide.read_scaled(grid.on_slide(window), (2 * _REACH, 2 * _REACH))
    (maps,) = network.predict(torch.from_numpy(pixels.copy()).movedim(-1, 0)[None])
    found = nucleus_at(maps, _REACH, _REACH, **network.instances)
    labels, box = grid.to_slide(found.mask.astype(np.int32), maps["np"], found.threshold, window)
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(rows):
        raise UserError(_NOTHING)
    top, left = int(rows[0]), int(columns[0])
    mask = labels[top : rows[-1] + 1, left : columns[-1] + 1] > 0
    return Proposal(mask, box.x0 + left, box.y0 + top, found.type)
