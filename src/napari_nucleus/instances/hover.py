"""From a network's maps to nuclei, by the post-processing of HoVer-Net.

Graham et al., "HoVer-Net: Simultaneous segmentation and classification of nuclei in multi-tissue
histology images", Medical Image Analysis 58 (2019), 101563.
"""

from functools import lru_cache
from typing import Any, Literal

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

HOVER = PostprocessingParameters(
    published={
        "np_threshold": 0.5,
        "marker_threshold": 0.4,
        "min_size": 10,
        "sobel_size": 21,
        "min_probability": 0.0,
    },
    choices={
        "np_threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
        "marker_threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
        "min_size": (5, 10, 20, 30, 40, 60, 80),
        "sobel_size": (5, 7, 9, 11, 13, 15, 17, 21, 25),
        "min_probability": (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85),
    },
)
"""Post-processing parameters of `hover_instances`."""

# The published smallest marker, px; away from the rim the opening leaves none as small.
_MIN_MARKER = 10


def hover_instances(
    np: ArrayLike,
    hv: ArrayLike,
    tp: ArrayLike | None = None,
    norm: Literal["fixed", "map"] = "fixed",
    *,
    np_threshold: float = 0.5,
    marker_threshold: float = 0.4,
    min_size: int = 10,
    sobel_size: int = 21,
    min_probability: float = 0.0,
) -> tuple[Labels, pandas.DataFrame]:
    """Split the nucleus pixels of one map into nuclei, and name the type of each.

    Nucleus pixels form 4-connected components. The HV maps rise across a nucleus and fall where
    it touches the next, so the Sobel gradients of both give a boundary energy between 0 (steepest
    rise) and 1 (steepest fall). Where it is low there are markers, and a watershed of the energy
    shares each component among its markers.

    Parameters
    ----------
    np : (H, W) array
        Probability that a pixel is nucleus.
    hv : (2, H, W) array
        Horizontal and vertical distance to the nucleus's centre, -1 to 1.
    tp : (H, W) array of int, optional
        Type of each pixel, 0 for background.
    norm : {"fixed", "map"}
        Values to which the energy is scaled. ``"map"``: the extremes in this map, as published;
        then nuclei depend on what else the map shows. ``"fixed"``: the extremes that any HV map of
        touching nuclei can show; then a tile gives the nuclei of the whole.
    np_threshold, marker_threshold : float
        Least probability of a nucleus pixel; energy below which a pixel may be a marker.
    min_size : int
        Smallest nucleus, in pixels.
    sobel_size : int
        Width of the Sobel kernel in pixels, odd, 3 to 31.
    min_probability : float
        Nuclei whose pixels have a lower mean probability are dropped; 0 is as published.

    Returns
    -------
    labels : (H, W) array of int32
        0 is background. Numbers follow the markers in reading order; with ``norm="map"`` they are
        the reference implementation's, so that one may be missing.
    table : DataFrame
        One row per nucleus: `napari_nucleus.instances.nucleus_table`.

    Raises
    ------
    UserError
        If the maps' shapes do not belong together, or `norm` or `sobel_size` is none of the above.

    Examples
    --------
    A nucleus 20 px wide:

    >>> import numpy as np
    >>> y, x = (np.mgrid[:40, :40] - 19.5) / 10
    >>> inside = x**2 + y**2 < 1
    >>> labels, table = hover_instances(inside, np.stack([x, y]) * inside)
    >>> len(table), int(labels.max())
    (1, 1)
    """
    np = numpy.asarray(np, numpy.float32)
    hv = numpy.asarray(hv, numpy.float32)
    tp = None if tp is None else numpy.asarray(tp, numpy.int32)
    _check(np, hv, tp, norm, sobel_size)
    energy = _energy_of_map(hv, sobel_size) if norm == "map" else _energy(hv, sobel_size)
    components = label_components(np >= np_threshold, min_size)
    markers = _markers((components > 0) & (energy < marker_threshold))
    # In double precision, as in the reference: rounding changes which pixel is flooded first.
    relief = numpy.where(components > 0, energy.astype(numpy.float64) - 1, 0)
    labels = flood(components, markers, cv2.GaussianBlur(relief, (3, 3), 0))
    labels = without_doubtful(without_small(labels, min_size), np, min_probability)
    return labels, nucleus_table(labels, tp)


def _check(
    np: NDArray[Any], hv: NDArray[Any], tp: NDArray[Any] | None, norm: str, sobel_size: int
) -> None:
    if np.ndim != 2 or np.size == 0:
        raise UserError(f"np must be a map (H, W) of at least one pixel, not {np.shape}.")
    if hv.shape != (2, *np.shape):
        raise UserError(f"hv must be (2, H, W) = {(2, *np.shape)} like np, not {hv.shape}.")
    if tp is not None and tp.shape != np.shape:
        raise UserError(f"tp must be (H, W) = {np.shape} like np, not {tp.shape}.")
    if norm not in ("fixed", "map"):
        raise UserError(f'norm must be "fixed" or "map", not {norm!r}.')
    if sobel_size not in range(3, 32, 2):
        raise UserError(f"sobel_size must be an odd number from 3 to 31, not {sobel_size}.")


def _energy_of_map(hv: Floats, sobel_size: int) -> Floats:
    """Boundary energy as published, with the reference's precision at every step."""
    h, v = (
        _unit_range(cv2.Sobel(_unit_range(plane), cv2.CV_64F, dx, dy, ksize=sobel_size))
        for plane, dx, dy in ((hv[0], 1, 0), (hv[1], 0, 1))
    )
    return 1 - numpy.minimum(h, v)


def _unit_range(plane: NDArray[Any]) -> Floats:
    return cv2.normalize(plane, None, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)  # type: ignore[call-overload]


def _energy(hv: Floats, sobel_size: int) -> Floats:
    """Boundary energy that depends on nothing but a pixel's neighbourhood."""
    derive, smooth, fall, rise = _sobel(sobel_size)
    h = cv2.sepFilter2D(hv[0], cv2.CV_32F, derive, smooth)
    v = cv2.sepFilter2D(hv[1], cv2.CV_32F, smooth, derive)
    return (rise - numpy.minimum(h, v)) / (rise - fall)


@lru_cache
def _sobel(size: int) -> tuple[Floats, Floats, float, float]:
    """Sobel's two factors, and the least and the greatest response that HV maps can cause.

    The factors are scaled so that a slope of 1 per pixel answers 1. By definition HV rises from
    -1 to 1 across a nucleus, is 0 outside, and drops from 1 to -1 where the next nucleus touches.
    The rise is steepest in an isolated nucleus about half as wide as the kernel (narrower ones
    are blurred away), the fall between two touching ones, the deeper the wider they are. Over all
    widths up to the kernel's the extremes are 0.169 and -0.257 per pixel for the published 21.
    So a flat HV, as in the middle of a nucleus far wider than the kernel, has energy 0.396 and
    stays just below the published marker threshold of 0.4; under smaller kernels it has more.
    """
    kernels = cv2.getDerivKernels(1, 0, size, ktype=cv2.CV_64F)
    derive, smooth = (kernel.ravel().astype(numpy.float64) for kernel in kernels)
    derive /= derive @ numpy.arange(size)
    smooth /= smooth.sum()
    outside = numpy.zeros(size)
    responses = []
    for width in range(1, size + 1):
        nucleus = (2 * numpy.arange(width) + 1) / width - 1
        for row in ([nucleus], [nucleus, nucleus]):
            responses.append(numpy.correlate(numpy.concatenate([outside, *row, outside]), derive))
    response = numpy.concatenate(responses)
    return derive, smooth, float(response.min()), float(response.max())


def _markers(calm: Mask) -> Labels:
    padded = cv2.copyMakeBorder(calm.astype(numpy.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    outside = 2
    cv2.floodFill(padded, None, (0, 0), outside, flags=4)
    filled = (padded[1:-1, 1:-1] != outside).astype(numpy.uint8)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return label_components(cv2.morphologyEx(filled, cv2.MORPH_OPEN, ellipse) > 0, _MIN_MARKER)
