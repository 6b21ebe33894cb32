"""Nucleus pixels become nuclei: components, and a watershed where one holds several."""

from typing import Any

import cv2
import numpy
from numpy.typing import NDArray
from skimage.segmentation import watershed

Labels = NDArray[numpy.int32]
Mask = NDArray[numpy.bool_]
Floats = NDArray[numpy.floating[Any]]


def label_components(mask: Mask, min_size: int = 0, connectivity: int = 4) -> Labels:
    """Label the components of at least `min_size` pixels, numbered in reading order.

    Parameters
    ----------
    mask : (H, W) ndarray of bool
        Nucleus pixels.
    min_size : int
        Pixels of the smallest component that is kept.
    connectivity : {4, 8}
        Whether pixels that share a corner only are connected (8).

    Returns
    -------
    (H, W) ndarray of int32
        0 is background.
    """
    _, labels = cv2.connectedComponents(mask.astype(numpy.uint8), connectivity=connectivity)
    return without_small(numpy.asarray(labels, numpy.int32), min_size)


def without_small(labels: Labels, min_size: int) -> Labels:
    """Return labels without those of fewer than `min_size` pixels.

    Parameters
    ----------
    labels : (H, W) ndarray of int32
        0 is background.
    min_size : int
        Pixels of the smallest nucleus that is kept.

    Returns
    -------
    (H, W) ndarray of int32
        The same numbers; some may be missing.
    """
    return _without(labels, numpy.bincount(labels.ravel()) < min_size)


def without_doubtful(labels: Labels, np: Floats, min_probability: float) -> Labels:
    """Return labels without those whose pixels have a lower mean probability.

    Parameters
    ----------
    labels : (H, W) ndarray of int32
        0 is background.
    np : (H, W) ndarray of float
        Probability of nucleus.
    min_probability : float
        Least mean probability; at 0, all are kept.

    Returns
    -------
    (H, W) ndarray of int32
        The same numbers; some may be missing.
    """
    if min_probability <= 0:
        return labels
    total = numpy.bincount(labels.ravel(), np.ravel())
    return _without(labels, total < min_probability * numpy.bincount(labels.ravel()))


def flood(components: Labels, markers: Labels, relief: NDArray[Any]) -> Labels:
    """Share components among their markers, by watershed only where that decides something.

    A component with one marker is that marker's; a marker pixel with no free neighbour floods
    nothing. Leaving both out changes no label and spares most of the queue.

    Parameters
    ----------
    components, markers : Labels
        (H, W), 0 is neither. A component without a marker is left out.
    relief : ndarray of Any
        (H, W), flooded from below.
    """
    seeds = numpy.flatnonzero(markers != 0)
    component, marker = components.ravel()[seeds], markers.ravel()[seeds]
    owner = numpy.zeros(components.max() + 1, numpy.int32)
    owner[component] = marker
    contested = numpy.zeros(len(owner), bool)
    contested[component[owner[component] != marker]] = True
    # A filled marker may reach over a hole in its nucleus.
    owner[0] = contested[0] = False
    labels = owner.take(components)
    arena = contested.take(components)
    numpy.copyto(labels, markers, where=arena)
    free = arena & (labels == 0)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near_free = cv2.dilate(free.astype(numpy.uint8), cross) > 0
    flooded = watershed(relief, labels, mask=arena & near_free)
    numpy.copyto(labels, flooded, where=free)
    return labels


def _without(labels: Labels, dropped: Mask) -> Labels:
    kept = numpy.arange(len(dropped), dtype=numpy.int32)
    kept[dropped] = 0
    return kept.take(labels)
