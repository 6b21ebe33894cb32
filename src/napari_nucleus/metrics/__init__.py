"""Scores of a segmentation against annotated nuclei, of one image and of many."""

from napari_nucleus.metrics.classification import (
    Centroids,
    TypeCounts,
    count_types,
    match_centroids,
    score_types,
)
from napari_nucleus.metrics.segmentation import (
    mean,
    mean_iou,
    mean_panoptic,
    score_pair,
    score_panoptic,
    weighted_f1,
)

__all__ = [
    "Centroids",
    "TypeCounts",
    "count_types",
    "match_centroids",
    "mean",
    "mean_iou",
    "mean_panoptic",
    "score_pair",
    "score_panoptic",
    "score_types",
    "weighted_f1",
]
