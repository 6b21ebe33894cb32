"""Agreement of predicted with annotated nuclei.

Every score has the definition of its reference implementation, down to the 1e-6 in a denominator:
HoVer-Net's (Graham et al., Medical Image Analysis 58 (2019), 101563) and PanNuke's (Gamper et al.,
arXiv:2003.10778). Where an empty side leaves a score undefined, it is NaN, and means over images
leave it out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_nucleus.errors import UserError
from napari_nucleus.metrics.bootstrap import Floats, weighted_mean
from napari_nucleus.metrics.overlap import Ints, Overlap, label_maps


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


def score_panoptic(
    true: ArrayLike,
    pred: ArrayLike,
    true_types: Mapping[int, int],
    pred_types: Mapping[int, int],
    types: Sequence[int],
) -> tuple[float, Floats]:
    """Panoptic quality of one image as PanNuke defines it.

    Parameters
    ----------
    true, pred : (H, W) array of int
        Annotated and predicted labels, 0 for background.
    true_types, pred_types : mapping of int to int
        Type of every label.
    types : sequence of int
        The K types to score.

    Returns
    -------
    bpq : float
        Over all nuclei whatever their type. NaN where nothing is annotated.
    pq : (K,) ndarray of float
        Over the nuclei of each type. NaN where none of it is annotated.

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

    bpq = pq(np.ones(len(true_type), bool), np.ones(len(pred_type), bool))
    return bpq, np.array([pq(true_type == number, pred_type == number) for number in types])


def mean_panoptic(
    images: Sequence[tuple[float, Floats]], tissues: Sequence[str], weights: ArrayLike
) -> dict[str, Floats]:
    """Mean panoptic quality over datasets as PanNuke defines it.

    Each image is averaged over its types, each tissue over its images, the whole over tissues.

    Parameters
    ----------
    images : sequence of (float, (K,) ndarray of float)
        Scores of each of N images, as `score_panoptic` returns them.
    tissues : sequence of str
        Tissue of each image.
    weights : (R, N) array of float
        How often each of R datasets contains each image.

    Returns
    -------
    dict
        ``bpq`` (R,) and ``mpq`` (R,); ``pq`` (R, K), for each type its mean over images.
    """
    weights = np.asarray(weights, float)
    bpq, pq = (np.array(column, float) for column in zip(*images, strict=True))
    scores = np.stack([bpq, _mean(pq.T)], axis=1)
    by_tissue = []
    for tissue in dict.fromkeys(tissues):
        chosen = [i for i, name in enumerate(tissues) if name == tissue]
        by_tissue.append(weighted_mean(scores[chosen], weights[:, chosen]))
    whole = _mean(np.stack(by_tissue))
    return {"bpq": whole[:, 0], "mpq": whole[:, 1], "pq": weighted_mean(pq, weights)}


def mean_iou(true: ArrayLike, pred: ArrayLike) -> float:
    """Mean over the classes, background included, of the IoU of their pixels.

    Parameters
    ----------
    true, pred : array of int
        Annotated and predicted class of each pixel, of the same shape. Classes that are on
        neither side do not count.

    Returns
    -------
    float
        NaN without pixels.

    Raises
    ------
    UserError
        If the shapes differ, or these are not classes.
    """
    shared, annotated, predicted = _count_classes(true, pred)
    union = annotated + predicted - shared
    return mean(shared[union > 0] / union[union > 0])


def weighted_f1(true: ArrayLike, pred: ArrayLike) -> float:
    """Mean over the classes of the F1 of their pixels, weighted by how many are annotated.

    Background is a class like the others and mostly the largest. This is scikit-learn's weighted
    F1, which the authors of the SAM-fused eU-Net3+ report as Dice.

    Parameters
    ----------
    true, pred : array of int
        Annotated and predicted class of each pixel, of the same shape.

    Returns
    -------
    float
        NaN without pixels.

    Raises
    ------
    UserError
        If the shapes differ, or these are not classes.
    """
    shared, annotated, predicted = _count_classes(true, pred)
    f1 = 2 * shared / np.maximum(annotated + predicted, 1)
    return float(np.average(f1, weights=annotated)) if annotated.any() else np.nan


def _count_classes(true: ArrayLike, pred: ArrayLike) -> tuple[Ints, Ints, Ints]:
    """Count the pixels of each class: on both sides, annotated, and predicted."""
    true, pred = label_maps(true, pred)
    classes = int(max(true.max(initial=0), pred.max(initial=0))) + 1
    shared, annotated, predicted = (
        np.bincount(pixels.ravel(), minlength=classes)
        for pixels in (true[true == pred], true, pred)
    )
    return shared, annotated, predicted


def mean(values: Iterable[float]) -> float:
    """Return the mean without NaN.

    Parameters
    ----------
    values : iterable of float
        Scores.

    Returns
    -------
    float
        NaN if all values are NaN.
    """
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


def _types_of(labels: Ints, types: Mapping[int, int]) -> Ints:
    untyped = [label for label in labels.tolist() if label not in types]
    if untyped:
        raise UserError(f"Label {untyped[0]} has no type: give one for every label.")
    return np.array([types[label] for label in labels.tolist()], int)


def _mean(values: Floats) -> Floats:
    """Mean along the first axis, NaN left out."""
    flat = values.reshape(len(values), -1)
    return weighted_mean(flat, np.ones((1, len(values)))).reshape(values.shape[1:])


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else np.nan
