"""How well predicted nuclei agree with annotated ones.

Every score has the definition of its reference implementation, down to the 1e-6 in a denominator:
HoVer-Net's (Graham et al., Medical Image Analysis 58 (2019), 101563) and PanNuke's (Gamper et al.,
arXiv:2003.10778). Where an empty side leaves a score undefined, it is NaN, and means over images
leave it out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from .errors import UserError
from .overlap import Ints, Overlap, label_maps

# Centroids farther apart are not one nucleus; 3 µm at the 0.25 µm per pixel of HoVer-Net.
RADIUS = 12


def score_pair(true: ArrayLike, pred: ArrayLike) -> dict[str, float]:
    """Score one image's segmentation.

    Parameters
    ----------
    true, pred : (H, W) array of int
        Annotated and predicted labels, 0 for background; numbers may be missing.

    Returns
    -------
    dict
        - ``dice``: of nucleus against background pixels. NaN if neither side has a nucleus.
        - ``dice2``: ensemble Dice, over all pairs of nuclei that overlap. NaN if none do.
        - ``aji``: aggregated Jaccard index (Kumar et al. 2017), each annotated nucleus with the
          predicted one of highest IoU. NaN if nothing is predicted.
        - ``aji_plus``: the same with pairs one to one. NaN if neither side has a nucleus.
        - ``dq``, ``sq``, ``pq``: detection, segmentation and panoptic quality (Kirillov et al.
          2019), where an IoU above 0.5 is a match. NaN if neither side has a nucleus.

    Raises
    ------
    UserError
        If the shapes differ, or these are not labels.

    Examples
    --------
    >>> import numpy as np
    >>> true = np.zeros((20, 20), int)
    >>> true[2:12, 2:12] = 7
    >>> score_pair(true, np.roll(true, 2, axis=0))["dice"]
    0.8
    """
    overlap = Overlap.of(true, pred)
    everything = np.ones(len(overlap.true_size), bool), np.ones(len(overlap.pred_size), bool)
    dq, sq, pq = _panoptic(overlap, *everything)
    sizes = overlap.true_size.sum() + overlap.pred_size.sum()
    pair_sizes = overlap.true_size[overlap.true] + overlap.pred_size[overlap.pred]
    shared = overlap.shared.sum()
    iou = overlap.shared / (pair_sizes - overlap.shared + 1e-6)
    return {
        "dice": _ratio(2 * shared, sizes),
        "dice2": _ratio(2 * shared, pair_sizes.sum()),
        "aji": _jaccard(overlap, _best(overlap, iou)) if len(overlap.pred_size) else np.nan,
        "aji_plus": _jaccard(overlap, _one_to_one(overlap, iou)),
        "dq": dq,
        "sq": sq,
        "pq": pq,
    }


class Centroids(NamedTuple):
    """Nuclei of one image as points.

    Attributes
    ----------
    xy : (N, 2) array
        Pixels.
    type : (N,) array of int
        1 to K.
    """

    xy: NDArray[Any]
    type: NDArray[Any]


def match_centroids(true: ArrayLike, pred: ArrayLike) -> Ints:
    """Pair points one to one with the least total distance, then drop pairs above 12 px.

    Parameters
    ----------
    true, pred : (N, 2), (M, 2) array
        Pixels.

    Returns
    -------
    (P, 2) array of int
        Indices into `true` and `pred`.
    """
    distance = cdist(true, pred)
    pairs = np.stack(linear_sum_assignment(distance), axis=1)
    return pairs[distance[pairs[:, 0], pairs[:, 1]] <= RADIUS]


def score_types(
    images: Sequence[tuple[Centroids, Centroids]], types: Sequence[int]
) -> dict[str, Any]:
    """Score detection and classification over all nuclei of some images.

    As in the reference, an image without nuclei on one side counts there as one nucleus of type 0
    at (0, 0), which is most often missed or too many.

    Parameters
    ----------
    images
        Annotated and predicted nuclei of each image.
    types
        The types to score.

    Returns
    -------
    dict
        ``f1d``, F1 of detection, NaN without images; ``accuracy``, share of the matched nuclei
        that have the right type, NaN if none matched; ``f1``, for each of `types` its F1 of
        detection and classification together, NaN where neither side has the type.
    """
    paired, missed, extra = [np.empty((0, 2), int)], [np.empty(0, int)], [np.empty(0, int)]
    for true, pred in images:
        true, pred = _never_empty(true), _never_empty(pred)
        pairs = match_centroids(true.xy, pred.xy)
        paired.append(np.stack([true.type[pairs[:, 0]], pred.type[pairs[:, 1]]], axis=1))
        missed.append(np.delete(true.type, pairs[:, 0]))
        extra.append(np.delete(pred.type, pairs[:, 1]))
    true_type, pred_type = np.concatenate(paired).T
    missed_type, extra_type = np.concatenate(missed), np.concatenate(extra)

    def f1(kind: int) -> float:
        right = np.sum((true_type == kind) & (pred_type == kind))
        mistaken = np.sum((true_type == kind) ^ (pred_type == kind))
        unmatched = np.sum(missed_type == kind) + np.sum(extra_type == kind)
        return _ratio(2 * right, 2 * right + 2 * mistaken + unmatched)

    matched = len(true_type)
    return {
        "f1d": _ratio(2 * matched, 2 * matched + len(missed_type) + len(extra_type)),
        "accuracy": _ratio(np.sum(true_type == pred_type), matched),
        "f1": {kind: f1(kind) for kind in types},
    }


def score_panoptic(
    true: ArrayLike,
    pred: ArrayLike,
    true_types: Mapping[int, int],
    pred_types: Mapping[int, int],
    types: Sequence[int],
) -> dict[str, Any]:
    """Panoptic quality of one image as PanNuke defines it.

    Parameters
    ----------
    true, pred : (H, W) array of int
        Annotated and predicted labels, 0 for background.
    true_types, pred_types
        Type of every label.
    types
        The types to score.

    Returns
    -------
    dict
        ``bpq``, over all nuclei whatever their type, and ``pq``, for each of `types` over its
        nuclei. NaN where nothing is annotated.

    Raises
    ------
    UserError
        If the shapes differ, these are not labels, or a label has no type.
    """
    overlap = Overlap.of(true, pred)
    true_type = _types_of(overlap.true_labels, true_types)
    pred_type = _types_of(overlap.pred_labels, pred_types)

    def pq(true_chosen: NDArray[np.bool_], pred_chosen: NDArray[np.bool_]) -> float:
        return _panoptic(overlap, true_chosen, pred_chosen)[2] if true_chosen.any() else np.nan

    return {
        "bpq": pq(np.ones(len(true_type), bool), np.ones(len(pred_type), bool)),
        "pq": {kind: pq(true_type == kind, pred_type == kind) for kind in types},
    }


def mean_panoptic(images: Sequence[Mapping[str, Any]], tissues: Sequence[str]) -> dict[str, Any]:
    """Mean panoptic quality over a data set as PanNuke defines it.

    Each image is averaged over its types, each tissue over its images, the whole over tissues.

    Parameters
    ----------
    images
        What `score_panoptic` answered for each image.
    tissues
        Tissue of each image.

    Returns
    -------
    dict
        ``bpq`` and ``mpq``; ``tissues``, the same two for each tissue; ``pq``, for each type its
        mean over images.
    """
    scores = [(image["bpq"], mean(image["pq"].values())) for image in images]
    by_tissue = {
        name: [score for score, tissue in zip(scores, tissues, strict=True) if tissue == name]
        for name in dict.fromkeys(tissues)
    }
    per_tissue = {
        name: {"bpq": mean(b for b, _ in some), "mpq": mean(m for _, m in some)}
        for name, some in by_tissue.items()
    }
    return {
        "bpq": mean(tissue["bpq"] for tissue in per_tissue.values()),
        "mpq": mean(tissue["mpq"] for tissue in per_tissue.values()),
        "tissues": per_tissue,
        "pq": {
            kind: mean(image["pq"][kind] for image in images)
            for kind in dict.fromkeys(kind for image in images for kind in image["pq"])
        },
    }


def mean_iou(true: ArrayLike, pred: ArrayLike) -> float:
    """Mean over the classes, background included, of the IoU of their pixels.

    Parameters
    ----------
    true, pred : array of int
        Annotated and predicted class of each pixel, of the same shape. Classes that are on
        neither side do not count.

    Raises
    ------
    UserError
        If the shapes differ, or these are not classes.
    """
    true, pred = label_maps(true, pred)
    classes = int(max(true.max(initial=0), pred.max(initial=0))) + 1
    shared = np.bincount(true[true == pred], minlength=classes)
    sizes = np.bincount(true.ravel(), minlength=classes) + np.bincount(
        pred.ravel(), minlength=classes
    )
    present = sizes > 0
    return mean(shared[present] / (sizes - shared)[present])


def bootstrap_ci(values: ArrayLike, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of a mean over images (percentile bootstrap, Efron 1979).

    Parameters
    ----------
    values : (N,) array
        One score per image; NaN is left out.
    n : int
        How often the images are drawn anew.
    seed : int
        The same seed gives the same interval.

    Returns
    -------
    tuple
        Lower and upper end; NaN without any value.
    """
    scores = np.asarray(values, float)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(len(scores), size=(n, len(scores)))
    low, high = np.percentile(scores[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def mean(values: Iterable[float]) -> float:
    """Mean of the scores that are no NaN; NaN without any."""
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else np.nan


def _panoptic(
    overlap: Overlap, true_chosen: NDArray[np.bool_], pred_chosen: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """DQ, SQ and PQ between chosen nuclei of both sides."""
    sizes = overlap.true_size[overlap.true] + overlap.pred_size[overlap.pred]
    iou = overlap.shared / (sizes - overlap.shared)
    matched = iou[(iou > 0.5) & true_chosen[overlap.true] & pred_chosen[overlap.pred]]
    dq = _ratio(2 * len(matched), true_chosen.sum() + pred_chosen.sum())
    sq = float(matched.sum() / (len(matched) + 1e-6)) if not np.isnan(dq) else np.nan
    return dq, sq, dq * sq


def _best(overlap: Overlap, iou: NDArray[np.float64]) -> Ints:
    """Of each annotated nucleus the pair with the highest IoU."""
    order = np.lexsort([overlap.pred, -iou, overlap.true])
    return order[np.unique(overlap.true[order], return_index=True)[1]]


def _one_to_one(overlap: Overlap, iou: NDArray[np.float64]) -> Ints:
    """Assign one to one with the highest total IoU, and return the pairs.

    Solved separately for every cluster of nuclei that overlap, so that memory follows their
    number and not its square.
    """
    n_true, n_pred = len(overlap.true_size), len(overlap.pred_size)
    links = coo_array(
        (np.ones(len(iou), bool), (overlap.true, overlap.pred + n_true)),
        shape=(n_true + n_pred, n_true + n_pred),
    )
    cluster = connected_components(links, directed=False)[1][overlap.true]
    order = np.argsort(cluster, kind="stable")
    clusters = np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)
    chosen = [pairs for pairs in clusters if len(pairs) == 1]
    for pairs in clusters:
        if len(pairs) > 1:
            row, rows = np.unique(overlap.true[pairs], return_inverse=True)
            column, columns = np.unique(overlap.pred[pairs], return_inverse=True)
            table = np.zeros((len(row), len(column)))
            table[rows, columns] = iou[pairs]
            where = np.full(table.shape, -1)
            where[rows, columns] = pairs
            assigned = where[linear_sum_assignment(table, maximize=True)]
            chosen.append(assigned[assigned >= 0])
    return np.concatenate(chosen) if chosen else np.empty(0, np.int64)


def _jaccard(overlap: Overlap, pairs: Ints) -> float:
    """Shared pixels of the pairs over their union and all that is in no pair."""
    true, pred = overlap.true[pairs], overlap.pred[pairs]
    shared = overlap.shared[pairs].sum()
    union = overlap.true_size[true].sum() + overlap.pred_size[pred].sum() - shared
    alone = np.delete(overlap.true_size, true).sum() + np.delete(overlap.pred_size, pred).sum()
    return _ratio(shared, union + alone)


def _never_empty(nuclei: Centroids) -> Centroids:
    if len(nuclei.type):
        return Centroids(np.asarray(nuclei.xy), np.asarray(nuclei.type))
    return Centroids(np.zeros((1, 2)), np.zeros(1, int))


def _types_of(labels: Ints, types: Mapping[int, int]) -> Ints:
    untyped = [label for label in labels.tolist() if label not in types]
    if untyped:
        raise UserError(f"Label {untyped[0]} has no type; give one for every label.")
    return np.array([types[label] for label in labels.tolist()], int)


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else np.nan
