"""Scores of images and of data sets: what evaluation and training report, by one reckoning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from napari_nucleus.centroids import centroids
from napari_nucleus.datasets import UNKNOWN
from napari_nucleus.metrics import (
    Centroids,
    match_centroids,
    mean,
    mean_panoptic,
    score_pair,
    score_panoptic,
    score_types,
)

# `metrics` pairs centroids within 12 px of this size: 3 µm.
_PIXEL_UM = 0.25


class Nuclei(NamedTuple):
    """The nuclei of one image.

    Attributes
    ----------
    labels
        Int (H, W), 0 = background.
    types
        Int, by label: 1 to K for the types that are scored, `UNKNOWN` for none of them.
    """

    labels: np.ndarray
    types: np.ndarray


class TypeScore(NamedTuple):
    """What one image adds to the scores of types.

    Attributes
    ----------
    points
        Annotated and predicted nuclei whose types count, in pixels of 0.25 µm.
    panoptic
        As `metrics.score_panoptic` has it.
    """

    points: tuple[Centroids, Centroids]
    panoptic: dict[str, Any]


@dataclass(frozen=True)
class ImageScore:
    """What one image adds to the scores of a data set.

    Attributes
    ----------
    dataset, name
        Which image.
    scores
        As `metrics.score_pair` has them.
    types
        None where types are not annotated or not scored.
    """

    dataset: str
    name: str
    scores: dict[str, float]
    types: TypeScore | None


def score_image(
    dataset: str, name: str, true: Nuclei, pred: Nuclei, types: int = 0, mpp: float = _PIXEL_UM
) -> ImageScore:
    """Score one image.

    Parameters
    ----------
    dataset, name
        Which image.
    true, pred
        Annotated and predicted nuclei.
    types
        How many types are scored. Annotated nuclei without type, and the predicted ones that
        match them, do not count there.
    mpp
        Micrometres per pixel.

    Raises
    ------
    UserError
        If the label images differ in size.
    """
    typed = types > 0 and bool(np.any(true.types[1:] != UNKNOWN))
    return ImageScore(
        dataset,
        name,
        score_pair(true.labels, pred.labels),
        _score_types(true, pred, types, mpp / _PIXEL_UM) if typed else None,
    )


def _score_types(true: Nuclei, pred: Nuclei, types: int, scale: float) -> TypeScore:
    true_ids, true_xy = centroids(true.labels)
    pred_ids, pred_xy = centroids(pred.labels)
    true_xy, pred_xy = true_xy * scale, pred_xy * scale
    known = true.types[true_ids] != UNKNOWN
    counts = np.ones(len(pred_ids), bool)
    pairs = match_centroids(true_xy, pred_xy)
    counts[pairs[~known[pairs[:, 0]], 1]] = False
    true_ids, pred_ids = true_ids[known], pred_ids[counts]
    true_type, pred_type = true.types[true_ids], pred.types[pred_ids]
    panoptic = score_panoptic(
        np.where(np.isin(true.labels, true_ids), true.labels, 0),
        np.where(np.isin(pred.labels, pred_ids), pred.labels, 0),
        dict(zip(true_ids.tolist(), true_type.tolist(), strict=True)),
        dict(zip(pred_ids.tolist(), pred_type.tolist(), strict=True)),
        range(1, types + 1),
    )
    points = Centroids(true_xy[known], true_type), Centroids(pred_xy[counts], pred_type)
    return TypeScore(points, panoptic)


def summarize(images: Sequence[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    """Score a data set.

    Parameters
    ----------
    images
        Its images.
    types
        Names of the types that were scored.

    Returns
    -------
    dict
        Of every score of `metrics.score_pair` the mean over images. Where images have types also
        ``f1d``, ``accuracy`` and, for every type, ``f1``, over all their nuclei together; and
        ``bpq`` and ``mpq``, averaged over images and then over dataset folders, as PanNuke averages
        over tissues.
    """
    summary: dict[str, Any] = {
        key: mean(image.scores[key] for image in images) for key in images[0].scores
    }
    typed = [(image.dataset, image.types) for image in images if image.types]
    if typed:
        kinds = range(1, len(types) + 1)
        found = score_types([scored.points for _, scored in typed], kinds)
        panoptic = mean_panoptic([scored.panoptic for _, scored in typed], [d for d, _ in typed])
        summary |= {"f1d": found["f1d"], "accuracy": found["accuracy"]}
        summary["f1"] = {name: found["f1"][kind] for name, kind in zip(types, kinds, strict=True)}
        summary |= {"bpq": panoptic["bpq"], "mpq": panoptic["mpq"]}
    return summary
