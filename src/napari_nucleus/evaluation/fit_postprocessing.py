"""Constants of the post-processing, chosen on annotated images that were not trained on."""

from collections.abc import Generator, Sequence
from typing import Any

from napari_nucleus.datasets import Sample
from napari_nucleus.evaluation.validation import predict_maps, score_maps
from napari_nucleus.metrics import mean
from napari_nucleus.models import NucleusModel

_SWEEPS = 3
"""One constant's best value depends on the others', but two or three rounds settle it."""


def fit_instances(model: NucleusModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Choose the constants of a model's post-processing by panoptic quality.

    The maps are computed once; then one constant after the other takes its best value, until none
    changes.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode; left as it was.
    samples : sequence of Sample
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
        best: dict[str, Any] = {**model.constants.published, **before}
        highest = quality(best)
        for _ in range(_SWEEPS):
            last = dict(best)
            for key, values in model.constants.choices.items():
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
