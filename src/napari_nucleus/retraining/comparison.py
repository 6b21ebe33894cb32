"""Comparison of a fine-tuned model with the original one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from napari_nucleus.datasets import Sample
from napari_nucleus.inference import predict_image
from napari_nucleus.metrics import score_pair
from napari_nucleus.models import NucleusModel
from napari_nucleus.slides.examples import colon
from napari_nucleus.training.curves import over_datasets

_PICTURE = 256
"""Longest side of a picture in pixels of the network."""


@dataclass(frozen=True)
class Picture:
    """Part of a validation region, as annotated and as predicted.

    Attributes
    ----------
    image : (H, W, 3) ndarray of uint8
    true, predicted : (H, W) ndarray of int32
        Annotated and predicted nuclei, 0 is background.
    """

    image: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def take_picture(model: NucleusModel, samples: Sequence[Sample]) -> Picture:
    """Predict the middle of the region with most nuclei.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode.
    samples : sequence of Sample
        At the model's µm/px, with its types.
    """
    sample = max(samples, key=lambda sample: len(np.unique(sample.labels)))
    middle = tuple(
        slice(max(side - _PICTURE, 0) // 2, (side + _PICTURE) // 2) for side in sample.labels.shape
    )
    image = sample.image[middle]
    return Picture(image, sample.labels[middle], find_nuclei(model, image))


def reference_image(mpp: float) -> np.ndarray:
    """Return the image on which a fine-tuned model is compared with the original one.

    The images that a model was trained on do not come with its weights, so it can neither be
    trained nor scored on them again. The `agreement` of both models on this image, which is not in
    the training data, measures change, not accuracy.

    Parameters
    ----------
    mpp : float
        Micrometres per pixel of the model.

    Returns
    -------
    (H, W, 3) ndarray of uint8
        `slides.examples.colon`.
    """
    slide = colon()
    assert slide.mpp is not None
    height, width = slide.shape
    size = (round(width * slide.mpp / mpp), round(height * slide.mpp / mpp))
    pixels = Image.fromarray(slide.read(0, 0, width, height))
    return np.asarray(pixels.resize(size, Image.Resampling.BILINEAR))


def agreement(before: np.ndarray, after: np.ndarray) -> float:
    """Return the panoptic quality of the new labels, with the original ones taken as the truth.

    Parameters
    ----------
    before, after : (H, W) ndarray of int
        Labels of the original and of the new model, 0 is background.
    """
    return score_pair(before, after)["pq"]


def find_nuclei(model: NucleusModel, image: np.ndarray) -> np.ndarray:
    """Return the label image (H, W) that a model predicts.

    Parameters
    ----------
    model : NucleusModel
        In evaluation mode.
    image : (H, W, 3) ndarray of uint8
        At the model's µm/px.
    """
    labels, _ = model.find(predict_image(image, model))
    return labels


def overall(scores: dict[str, Any]) -> dict[str, float]:
    """Return the scores that matter most, averaged over datasets.

    Parameters
    ----------
    scores : dict of str to Any
        As `validation.validate` returns.

    Returns
    -------
    dict
        ``pq``, ``aji``, and, where types are annotated, ``f1d`` of detection and ``f1``, its mean
        over the types.
    """
    found = {key: over_datasets(scores, key) for key in ("pq", "aji", "f1d", "f1")}
    return {key: value for key, value in found.items() if not np.isnan(value)}
