"""Whether a retraining has helped, and what it has cost."""

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
    """A held-out place, as it is and as a model sees it.

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
    """Let a model, in evaluation mode, predict the middle of the region with most nuclei."""
    sample = max(samples, key=lambda sample: len(np.unique(sample.labels)))
    middle = tuple(
        slice(max(side - _PICTURE, 0) // 2, (side + _PICTURE) // 2) for side in sample.labels.shape
    )
    image = sample.image[middle]
    return Picture(image, sample.labels[middle], find_nuclei(model, image))


def old_sample(mpp: float) -> np.ndarray:
    """Return the tissue on which a model is compared with the one that it was made from.

    The weights come without their training images, so these can be neither replayed nor scored on
    again. What can be told of tissue that a retraining did not see is how much a model changes
    there: `agreement` on `examples.colon`. That measures drift, not truth: 1 is a model that sees
    this tissue as before, and what is lost from 1 is mostly, but not always, a loss.

    Parameters
    ----------
    mpp : float
        Micrometres per pixel of the model.

    Returns
    -------
    ndarray
        Uint8 (H, W, 3).
    """
    slide = colon()
    assert slide.mpp is not None
    height, width = slide.shape
    size = (round(width * slide.mpp / mpp), round(height * slide.mpp / mpp))
    pixels = Image.fromarray(slide.read(0, 0, width, height))
    return np.asarray(pixels.resize(size, Image.Resampling.BILINEAR))


def agreement(before: np.ndarray, after: np.ndarray) -> float:
    """Return the panoptic quality of nuclei (H, W), taking those found before for true."""
    return score_pair(before, after)["pq"]


def find_nuclei(model: NucleusModel, image: np.ndarray) -> np.ndarray:
    """Return the labels that a model, in evaluation mode, finds in an image at its µm/px."""
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
