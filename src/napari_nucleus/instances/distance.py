"""From the map of a semantic network to nuclei, by a watershed of the distance to the rim."""

from typing import Any

import cv2
import numpy
import pandas
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.instances.components import (
    Floats,
    Labels,
    Mask,
    flood,
    label_components,
    without_doubtful,
    without_small,
)
from napari_nucleus.instances.parameters import PostprocessingParameters
from napari_nucleus.instances.table import nucleus_table

DISTANCE = PostprocessingParameters(
    published={
        "np_threshold": 0.5,
        "marker_distance": 1.0,
        "min_size": 10,
        "min_probability": 0.0,
    },
    choices={
        "np_threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
        "marker_distance": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
        "min_size": (5, 10, 20, 30, 40, 60, 80),
        "min_probability": (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85),
    },
)
"""Post-processing parameters of `distance_instances`."""

_BORDER = 0.5
"""Probability from which on a pixel is the border between two nuclei."""

_STEPS = 16
"""Steps per pixel in which distances are counted: whole numbers compare exactly and fast."""

_FARTHEST = 1000.0
"""Distances are counted up to here; beyond, nothing is a nucleus."""


def distance_instances(
    np: ArrayLike,
    tp: ArrayLike | None = None,
    boundary: ArrayLike | None = None,
    *,
    np_threshold: float = 0.5,
    min_size: int = 10,
    marker_distance: float = 1.0,
    min_probability: float = 0.0,
) -> tuple[Labels, pandas.DataFrame]:
    """Split the nucleus pixels of one map into nuclei by shape, and name the type of each.

    The distance of a nucleus pixel to the rim has a maximum in the middle of each nucleus. Maxima
    that stand out of the neck to the next (h-maxima) are markers, from which a watershed shares
    each 8-connected component. Nothing depends on what else the map shows: a tile gives the nuclei
    of the whole.

    Parameters
    ----------
    np : (H, W) array
        Probability that a pixel is nucleus.
    tp : (H, W) array of int, optional
        Type of each pixel, 0 for background.
    boundary : (H, W) array, optional
        Probability that a pixel is the border between nuclei: where it is 0.5 or more, a pixel
        counts as rim, and the nuclei found share it. What is all border is one nucleus.
    np_threshold : float
        Least probability of a nucleus pixel.
    min_size : int
        Smallest nucleus, in pixels.
    marker_distance : float
        Pixels by which the middle of a nucleus is farther from the rim than its neck to the next:
        the h of the h-maxima. Less splits more.
    min_probability : float
        Nuclei whose pixels have a lower mean probability are dropped.

    Returns
    -------
    labels : (H, W) array of int32
        0 is background.
    table : DataFrame
        One row per nucleus: `napari_nucleus.instances.nucleus_table`.

    Raises
    ------
    UserError
        If the maps' shapes do not belong together, or `marker_distance` is not above 0.

    Examples
    --------
    Two discs that overlap:

    >>> import numpy as np
    >>> y, x = np.mgrid[:30, :50]
    >>> discs = [(x - cx) ** 2 + (y - 15) ** 2 < 100 for cx in (16, 33)]
    >>> labels, table = distance_instances(discs[0] | discs[1])
    >>> len(table)
    2
    """
    np = numpy.asarray(np, numpy.float32)
    tp = None if tp is None else numpy.asarray(tp, numpy.int32)
    boundary = None if boundary is None else numpy.asarray(boundary, numpy.float32)
    _check(np, tp, boundary, marker_distance)
    components = label_components(np >= np_threshold, min_size, connectivity=8)
    distance = _distance(_inside(components, boundary))
    markers = _markers(distance, marker_distance)
    labels = flood(components, markers, -distance.astype(numpy.float64))
    labels = without_doubtful(without_small(labels, min_size), np, min_probability)
    return labels, nucleus_table(labels, tp)


def _check(
    np: NDArray[Any],
    tp: NDArray[Any] | None,
    boundary: NDArray[Any] | None,
    marker_distance: float,
) -> None:
    if np.ndim != 2 or np.size == 0:
        raise UserError(f"np must be a map (H, W) of at least one pixel, not {np.shape}.")
    for name, other in (("tp", tp), ("boundary", boundary)):
        if other is not None and other.shape != np.shape:
            raise UserError(f"{name} must be (H, W) = {np.shape} like np, not {other.shape}.")
    if marker_distance <= 0:
        raise UserError(f"marker_distance must be above 0, not {marker_distance}.")


def _inside(components: Labels, boundary: Floats | None) -> Mask:
    """Return the pixels of components without their borders, but for those that are all border."""
    nucleus = components > 0
    if boundary is None:
        return nucleus
    inside = nucleus & (boundary < _BORDER)
    bare = numpy.bincount(components[inside], minlength=components.max() + 1) == 0
    return inside | (nucleus & bare.take(components))


def _distance(inside: Mask) -> NDArray[numpy.uint16]:
    """Return the distance to the rim in steps; the edge of the map is no rim."""
    distance = cv2.distanceTransform(inside.astype(numpy.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return numpy.rint(distance.clip(max=_FARTHEST) * _STEPS).astype(numpy.uint16)


def _markers(distance: NDArray[numpy.uint16], marker_distance: float) -> Labels:
    """Label the domes of the distance that are `marker_distance` high.

    The distance less that height, grown by dilation under the distance itself, fills what is lower
    (Vincent 1993). What stays above is the domes; those of full height are kept. Inside a nucleus
    everything is raised by the height, so that the smallest has its dome.
    """
    height = max(round(marker_distance * _STEPS), 1)
    inside = distance > 0
    roof = numpy.where(inside, distance + height, 0).astype(numpy.uint16)
    square = numpy.ones((3, 3), numpy.uint8)
    level = distance
    while True:
        risen = numpy.minimum(cv2.dilate(level, square), roof)
        if numpy.array_equal(risen, level):
            break
        level = risen
    above = roof - level
    domes = label_components(above > 0, connectivity=8)
    tall = numpy.zeros(domes.max() + 1, bool)
    tall[domes[above == height]] = True
    tall[0] = False
    return numpy.where(tall.take(domes), domes, 0)
