"""Scores of a model on samples held in memory, at the model's own resolution."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_nucleus.datasets import Sample, type_index
from napari_nucleus.inference import predict_image
from napari_nucleus.metrics import mean
from napari_nucleus.metrics.aggregate import ImageScore, Nuclei, score_image, summarize
from napari_nucleus.models import NucleusModel

Maps = dict[str, np.ndarray]


def validate(model: NucleusModel, samples: Sequence[Sample]) -> dict[str, Any]:
    """Score a model on annotated images.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode.
    samples : sequence of Sample
        At the model's µm/px, with its types.

    Returns
    -------
    dict
        As `summarize_validation` returns.
    """
    return summarize_validation(score_samples(model, samples), model.types)


def score_samples(model: NucleusModel, samples: Sequence[Sample]) -> list[ImageScore]:
    """Score a model on each image.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode.
    samples : sequence of Sample
        At the model's µm/px, with its types.
    """
    return score_maps(model, samples, predict_maps(model, samples))


def summarize_validation(images: Iterable[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    """Sum up the scores of images.

    Parameters
    ----------
    images : iterable of ImageScore
        The images.
    types : sequence of str
        Names of the types that they are scored for.

    Returns
    -------
    dict
        ``datasets``: scores by dataset, as `scoring.summarize` has them; ``score``: half the mean
        AJI over datasets and half the mean F1 over the types, where types are annotated (HistoNeXt,
        equation 12); the mean AJI alone, where they are not. In ``score``, an image in which
        nothing is found counts as 0.
    """
    by_dataset: dict[str, list[ImageScore]] = {}
    for image in images:
        by_dataset.setdefault(image.dataset, []).append(image)
    datasets = {name: summarize(images, types) for name, images in by_dataset.items()}
    score = mean(mean(map(_aji, images)) for images in by_dataset.values())
    f1 = mean(mean(scores["f1"].values()) for scores in datasets.values() if "f1" in scores)
    return {"score": score if np.isnan(f1) else (score + f1) / 2, "datasets": datasets}


def predict_maps(model: NucleusModel, samples: Iterable[Sample]) -> list[Maps]:
    """Return the model's maps of every sample.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode.
    samples : iterable of Sample
        At the model's µm/px.
    """
    return [predict_image(sample.image, model) for sample in samples]


def score_maps(
    model: NucleusModel, samples: Iterable[Sample], maps: Iterable[Maps], typed: bool = True
) -> list[ImageScore]:
    """Turn the maps of samples into nuclei by the model's post-processing, and score them.

    Parameters
    ----------
    model : NucleusModel
        Whose maps they are.
    samples, maps : iterable of Sample
        Annotated images, and what `predict_maps` gave for them.
    typed : bool
        Whether to score types as well.
    """
    types = model.types if typed else ()
    scores = []
    for sample, predicted in zip(samples, maps, strict=True):
        labels, table = model.nuclei(predicted) if typed else model.find(predicted)
        names = table.set_index("label")["type"] if typed else pd.Series(dtype=str)
        pred = Nuclei(labels, type_index(names, types, np.arange(labels.max() + 1)))
        true = Nuclei(sample.labels, sample.types)
        scores.append(
            score_image(
                sample.dataset,
                sample.name,
                true,
                pred,
                len(types),
                sample.mpp,
                sample.ignored,
                sample.tissue,
            )
        )
    return scores


def _aji(image: ImageScore) -> float:
    """AJI, which is undefined where nothing is found; 0 if there was something to find."""
    aji, dice = image.scores["aji"], image.scores["dice"]
    return 0.0 if np.isnan(aji) and not np.isnan(dice) else aji
