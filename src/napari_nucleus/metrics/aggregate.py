"""Scores of images and of datasets, as evaluation and training report them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from napari_nucleus.measure import DEFAULT_MPP, label_runs
from napari_nucleus.metrics.bootstrap import Floats, weighted_mean
from napari_nucleus.metrics.classification import (
    Centroids,
    TypeCounts,
    count_types,
    match_centroids,
    score_types,
)
from napari_nucleus.metrics.segmentation import (
    mean_iou,
    mean_panoptic,
    score_pair,
    score_panoptic,
    weighted_f1,
)
from napari_nucleus.nucleus_types import UNKNOWN


class Nuclei(NamedTuple):
    """The nuclei of one image.

    Attributes
    ----------
    labels : (H, W) ndarray of int
        0 = background.
    types : (N + 1,) ndarray of int
        By label: 1 to K for the types that are scored, else `UNKNOWN`.
    """

    labels: np.ndarray
    types: np.ndarray


class TypeScore(NamedTuple):
    """Contribution of one image to the scores of types.

    Attributes
    ----------
    counts : TypeCounts
        As `metrics.count_types` returns them.
    panoptic : tuple[float, Floats]
        As `metrics.score_panoptic` returns it.
    """

    counts: TypeCounts
    panoptic: tuple[float, Floats]


@dataclass(frozen=True)
class ImageScore:
    """Contribution of one image to the scores of a dataset.

    Attributes
    ----------
    dataset, name : str
        Dataset and name of the image.
    tissue : str
        Group in which panoptic quality of types is averaged first.
    scores : dict of str to float
        As `metrics.score_pair` returns them; and ``miou`` and ``weighted_f1``, of the pixels of
        background and nuclei, or, where types are scored, of background and each type.
    types : TypeScore or None
        None where types are not annotated or not scored.
    """

    dataset: str
    name: str
    tissue: str
    scores: dict[str, float]
    types: TypeScore | None


def score_image(
    dataset: str,
    name: str,
    true: Nuclei,
    pred: Nuclei,
    types: int = 0,
    mpp: float = DEFAULT_MPP,
    ignored: np.ndarray | None = None,
    tissue: str = "",
) -> ImageScore:
    """Score one image.

    Parameters
    ----------
    dataset, name : str
        Dataset and name of the image.
    true, pred : Nuclei
        Annotated and predicted nuclei.
    types : int
        Number of types that are scored. Annotated nuclei without type, and the predicted ones that
        match them, do not count there.
    mpp : float
        Micrometres per pixel.
    ignored : (H, W) ndarray of bool or None
        Background that does not count, nor do predicted nuclei that are mostly in it.
    tissue : str
        Tissue that the image shows; if empty, all images of the dataset are one tissue.

    Returns
    -------
    ImageScore
        Scores of the image.

    Raises
    ------
    UserError
        If the label images differ in size.
    """
    if ignored is not None:
        pred = Nuclei(_outside(ignored, pred.labels), pred.types)
    counts = np.ones(true.labels.shape, bool) if ignored is None else ~ignored
    scores = score_pair(true.labels, pred.labels)
    untyped = len(true.types) > 1 and np.all(true.types[1:] == UNKNOWN)
    if types == 0 or untyped:
        scores |= _score_pixels(true.labels[counts] > 0, pred.labels[counts] > 0)
        return ImageScore(dataset, name, tissue or dataset, scores, None)
    scores |= _score_pixel_types(true, pred, counts)
    type_score = _score_types(true, pred, types, mpp / DEFAULT_MPP)
    return ImageScore(dataset, name, tissue or dataset, scores, type_score)


def _outside(ignored: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the labels without ignored pixels and without nuclei that are mostly ignored."""
    size = np.bincount(labels.ravel())
    left = np.bincount(labels[~ignored], minlength=len(size))
    kept = 2 * left > size
    return np.where(kept[labels] & ~ignored, labels, 0)


def _score_pixels(true: np.ndarray, pred: np.ndarray) -> dict[str, float]:
    return {"miou": mean_iou(true, pred), "weighted_f1": weighted_f1(true, pred)}


def _score_pixel_types(true: Nuclei, pred: Nuclei, counts: np.ndarray) -> dict[str, float]:
    """Score the types of pixels, where the type is known; none of them is background."""
    true_type, pred_type = true.types[true.labels], pred.types[pred.labels]
    known = counts & (true_type != UNKNOWN)
    return _score_pixels(true_type[known], np.where(pred_type == UNKNOWN, 0, pred_type)[known])


def _score_types(true: Nuclei, pred: Nuclei, types: int, scale: float) -> TypeScore:
    true_runs, pred_runs = label_runs(true.labels), label_runs(pred.labels)
    true_ids, true_xy = true_runs.labels, true_runs.centroids * scale
    pred_ids, pred_xy = pred_runs.labels, pred_runs.centroids * scale
    known = true.types[true_ids] != UNKNOWN
    counts = np.ones(len(pred_ids), bool)
    pairs = match_centroids(true_xy, pred_xy)
    counts[pairs[~known[pairs[:, 0]], 1]] = False
    true_ids, pred_ids = true_ids[known], pred_ids[counts]
    true_type, pred_type = true.types[true_ids], pred.types[pred_ids]
    numbers = range(1, types + 1)
    panoptic = score_panoptic(
        np.where(np.isin(true.labels, true_ids), true.labels, 0),
        np.where(np.isin(pred.labels, pred_ids), pred.labels, 0),
        dict(zip(true_ids.tolist(), true_type.tolist(), strict=True)),
        dict(zip(pred_ids.tolist(), pred_type.tolist(), strict=True)),
        numbers,
    )
    points = Centroids(true_xy[known], true_type), Centroids(pred_xy[counts], pred_type)
    return TypeScore(count_types(*points, numbers), panoptic)


def score_sets(images: Sequence[ImageScore], weights: ArrayLike) -> dict[str, Floats]:
    """Score R datasets that consist of N images.

    Parameters
    ----------
    images : sequence of ImageScore
        The images.
    weights : (R, N) array of float
        How often each dataset contains each image.

    Returns
    -------
    dict
        Of every score of an image the mean (R,). Where images have types also ``f1d`` and
        ``accuracy`` (R,), over all their nuclei together; ``bpq`` and ``mpq`` (R,), averaged over
        images and then over tissues, as PanNuke does it; and, for each of K types,
        ``f1`` (R, K), over all nuclei together, and ``type_pq`` (R, K), averaged over images. NaN
        where a score is undefined.
    """
    weights = np.asarray(weights, float)
    sets = {
        key: weighted_mean([image.scores[key] for image in images], weights)
        for key in images[0].scores
    }
    # whether types are annotated is unknown from an image without nuclei, but not from its dataset
    annotated = {i.dataset for i in images if i.types and i.types.counts.annotated.any()}
    typed = [
        (index, image.tissue, image.types)
        for index, image in enumerate(images)
        if image.types and image.dataset in annotated
    ]
    if typed:
        indices, tissues, type_scores = zip(*typed, strict=True)
        typed_weights = weights[:, indices]
        found = score_types([score.counts for score in type_scores], typed_weights)
        panoptic = mean_panoptic([score.panoptic for score in type_scores], tissues, typed_weights)
        sets |= {"f1d": found["f1d"], "accuracy": found["accuracy"]}
        sets |= {"bpq": panoptic["bpq"], "mpq": panoptic["mpq"]}
        sets |= {"f1": found["f1"], "type_pq": panoptic["pq"]}
    return sets


def summarize(images: Sequence[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    """Score a dataset.

    Parameters
    ----------
    images : sequence of ImageScore
        Its images.
    types : sequence of str
        Names of the types that were scored.

    Returns
    -------
    dict
        The scores of `score_sets` that are one number, and, where images have types, ``f1`` for
        every type.
    """
    sets = score_sets(images, np.ones((1, len(images))))
    summary: dict[str, Any] = {k: float(score[0]) for k, score in sets.items() if score.ndim == 1}
    if "f1" in sets:
        summary["f1"] = dict(zip(types, sets["f1"][0].tolist(), strict=True))
    return summary
