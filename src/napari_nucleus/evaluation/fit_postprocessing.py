"""Parameters of the post-processing, chosen on annotated images that were not trained on."""

from collections.abc import Iterator, Sequence
from typing import Any

from napari_nucleus.datasets import Sample
from napari_nucleus.evaluation.validation import predict_maps, score_maps
from napari_nucleus.metrics import mean
from napari_nucleus.models import NucleusModel

_SWEEPS = 3
"""The best value of a parameter depends on the others', but two or three rounds settle it."""


def fit_parameters(model: NucleusModel, samples: Sequence[Sample]) -> Iterator[dict[str, Any]]:
    """Choose the parameters of a model's post-processing by panoptic quality.

    The maps are computed once; then one parameter after the other takes its best value, until none
    changes.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode; left as it was.
    samples : sequence of Sample
        Annotated images at the model's µm/px, not trained on.

    Yields
    ------
    dict of str to Any
        Before the first try and after every one, the best parameters so far, as
        `NucleusModel.instances` takes them. They start with the model's own, or the published ones
        where it has none.
    """
    maps = predict_maps(model, samples)
    before = model.instances

    def quality(parameters: dict[str, Any]) -> float:
        model.instances = parameters
        by_dataset: dict[str, list[float]] = {}
        for image in score_maps(model, samples, maps, typed=False):
            by_dataset.setdefault(image.dataset, []).append(image.scores["pq"])
        return mean(map(mean, by_dataset.values()))

    try:
        best: dict[str, Any] = {**model.postprocessing.published, **before}
        highest = quality(best)
        yield best
        for _ in range(_SWEEPS):
            last = best
            for key, values in model.postprocessing.choices.items():
                for value in values:
                    if value == best[key]:
                        continue
                    if (found := quality({**best, key: value})) > highest:
                        highest, best = found, {**best, key: value}
                    yield best
            if best == last:
                break
    finally:
        model.instances = before
