"""Constants of the post-processing, chosen on annotated images that were not trained on."""

from collections.abc import Generator, Sequence
from typing import Any

from napari_nucleus.datasets import Sample
from napari_nucleus.metrics import mean
from napari_nucleus.models import NucleusModel
from napari_nucleus.validation import predict_maps, score_maps

# The published constants of HoVer-Net, where the search begins, and what else is tried.
PUBLISHED = {
    "np_threshold": 0.5,
    "marker_threshold": 0.4,
    "min_size": 10,
    "sobel_size": 21,
    "min_probability": 0.0,
}
CHOICES: dict[str, tuple[float, ...]] = {
    "np_threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
    "marker_threshold": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
    "min_size": (5, 10, 20, 30, 40, 60, 80),
    "sobel_size": (5, 7, 9, 11, 13, 15, 17, 21, 25),
    "min_probability": (0.0, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85),
}

_SWEEPS = 3
"""One constant's best value depends on the others', but two or three rounds settle it."""


def fit_instances(model: NucleusModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Choose a HoVer model's constants by panoptic quality.

    The maps are computed once; then one constant after the other takes its best value, until none
    changes.

    Parameters
    ----------
    model
        In evaluation mode; left as it was.
    samples
        Annotated images at the model's µm/px, not trained on.

    Returns
    -------
    dict
        What `NucleusModel.instances` is to be. No worse on these samples than the model's own
        constants, or the published ones where it has none.
    """
    steps = fit_steps(model, samples)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def fit_steps(
    model: NucleusModel, samples: Sequence[Sample]
) -> Generator[None, None, dict[str, Any]]:
    """Do as `fit_instances`, and yield after every try."""
    maps = predict_maps(model, samples)
    before = model.instances

    def quality(constants: dict[str, Any]) -> float:
        model.instances = constants
        by_dataset: dict[str, list[float]] = {}
        for image in score_maps(model, samples, maps, typed=False):
            by_dataset.setdefault(image.dataset, []).append(image.scores["pq"])
        return mean(map(mean, by_dataset.values()))

    try:
        best: dict[str, Any] = {**PUBLISHED, **before}
        highest = quality(best)
        for _ in range(_SWEEPS):
            last = dict(best)
            for key, values in CHOICES.items():
                for value in values:
                    if value == best[key]:
                        continue
                    if (found := quality({**best, key: value})) > highest:
                        highest, best = found, {**best, key: value}
                    yield
            if best == last:
                break
    finally:
        model.instances = before
    return best
