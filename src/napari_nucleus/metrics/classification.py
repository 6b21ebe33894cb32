"""Scores of detection and classification, by pairs of centroids.

As HoVer-Net's reference implementation (Graham et al., Medical Image Analysis 58 (2019), 101563).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from napari_nucleus.measure import DEFAULT_MPP
from napari_nucleus.metrics.bootstrap import Floats, ratio
from napari_nucleus.metrics.overlap import Ints

MATCH_RADIUS_UM = 3.0
"""Centroids that are farther apart do not belong to one nucleus, in µm."""

_RADIUS = MATCH_RADIUS_UM / DEFAULT_MPP  # HoVer-Net's 12 px


class Centroids(NamedTuple):
    """Nuclei of one image as points.

    Attributes
    ----------
    xy : (N, 2) array of float
        Centroids in pixels.
    type : (N,) array of int
        1 to K.
    """

    xy: NDArray[Any]
    type: NDArray[Any]


def match_centroids(true: ArrayLike, pred: ArrayLike) -> Ints:
    """Pair points one to one with the least total distance, up to `MATCH_RADIUS_UM`.

    Parameters
    ----------
    true, pred : (N, 2), (M, 2) array of float
        Centroids (x, y) in pixels of `DEFAULT_MPP`.

    Returns
    -------
    (P, 2) ndarray of int
        Indices into `true` and `pred`.
    """
    distance = cdist(true, pred)
    pairs = np.stack(linear_sum_assignment(distance), axis=1)
    return pairs[distance[pairs[:, 0], pairs[:, 1]] <= _RADIUS]


class TypeCounts(NamedTuple):
    """Counts of one image from which the scores of types are computed.

    Attributes
    ----------
    matched, correct, unmatched : int
        Pairs of an annotated and a predicted nucleus; those of them with one type on both sides;
        nuclei of either side in no pair.
    right, mistaken, alone : (K,) array of int
        By type: pairs where both sides, and where one side only, is of it, and nuclei of it in no
        pair.
    annotated, predicted : (K,) array of int
        By type: nuclei.
    """

    matched: int
    correct: int
    unmatched: int
    right: Ints
    mistaken: Ints
    alone: Ints
    annotated: Ints
    predicted: Ints


def count_types(true: Centroids, pred: Centroids, types: Sequence[int]) -> TypeCounts:
    """Count the pairs and single nuclei of one image for `score_types`.

    As in the reference, a side without nuclei counts as one nucleus of type 0 at (0, 0).

    Parameters
    ----------
    true, pred : Centroids
        Annotated and predicted nuclei.
    types : sequence of int
        The K types to score.

    Returns
    -------
    TypeCounts
        The counts.
    """
    true, pred = _never_empty(true), _never_empty(pred)
    pairs = match_centroids(true.xy, pred.xy)
    true_type, pred_type = true.type[pairs[:, 0]], pred.type[pairs[:, 1]]
    alone = np.delete(true.type, pairs[:, 0]), np.delete(pred.type, pairs[:, 1])

    def of_type(numbers: NDArray[Any]) -> NDArray[np.bool_]:
        return numbers == np.asarray(types)[:, None]

    is_true, is_pred = of_type(true_type), of_type(pred_type)
    return TypeCounts(
        matched=len(pairs),
        correct=int(np.sum(true_type == pred_type)),
        unmatched=sum(map(len, alone)),
        right=np.sum(is_true & is_pred, axis=1),
        mistaken=np.sum(is_true ^ is_pred, axis=1),
        alone=np.sum(of_type(np.concatenate(alone)), axis=1),
        annotated=np.sum(of_type(true.type), axis=1),
        predicted=np.sum(of_type(pred.type), axis=1),
    )


def score_types(images: Sequence[TypeCounts], weights: ArrayLike) -> dict[str, Floats]:
    """Score detection and classification over all nuclei of datasets.

    Parameters
    ----------
    images : sequence of TypeCounts
        Counts of each of N images.
    weights : (R, N) array of float
        How often each of R datasets contains each image.

    Returns
    -------
    dict
        ``f1d`` (R,), F1 of detection, NaN without images; ``accuracy`` (R,), share of the matched
        nuclei that have the right type, NaN if none matched; ``f1`` (R, K), for each type its F1
        of detection and classification together, NaN where no nucleus of the type is annotated.
    """
    columns = (np.array(column, float) for column in zip(*images, strict=True))
    total = TypeCounts(*(np.asarray(weights, float) @ column for column in columns))
    f1 = ratio(2 * total.right, 2 * total.right + 2 * total.mistaken + total.alone)
    return {
        "f1d": ratio(2 * total.matched, 2 * total.matched + total.unmatched),
        "accuracy": ratio(total.correct, total.matched),
        "f1": np.where(total.annotated > 0, f1, np.nan),
    }


def _never_empty(nuclei: Centroids) -> Centroids:
    if len(nuclei.type):
        return Centroids(np.asarray(nuclei.xy), np.asarray(nuclei.type))
    return Centroids(np.zeros((1, 2)), np.zeros(1, int))
