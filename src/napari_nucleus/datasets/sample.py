"""What a network is trained and scored on: an image whose nuclei are known."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

UNKNOWN = 255
"""Type index of a nucleus whose type nobody annotated."""


@dataclass(frozen=True)
class Sample:
    """An annotated image.

    Attributes
    ----------
    name
        Stem of the image file.
    dataset
        Name of the folder that the dataset lies in.
    image
        Uint8 (H, W, 3), RGB.
    labels
        Int32 (H, W), 0 is background, nuclei are 1 to N.
    types
        Uint8 (N + 1,), type index of each label; 0 for the background, `UNKNOWN` where no type is
        given.
    doubtful
        Bool (N + 1,), nuclei that are there but may be several: their pixels teach the foreground,
        not the shapes.
    mpp
        Micrometres per pixel.
    part
        Part of the dataset's official split that it belongs to; empty where there is none.
    """

    name: str
    dataset: str
    image: np.ndarray
    labels: np.ndarray
    types: np.ndarray
    doubtful: np.ndarray
    mpp: float
    part: str = ""


def estimate_mpp(labels: np.ndarray, diameter_um: float = 7.5) -> float:
    """Take the median nucleus for `diameter_um` wide; 0.25 where there is none."""
    areas = np.bincount(labels.ravel())[1:]
    if not len(areas):
        return 0.25
    return float(np.clip(diameter_um / np.sqrt(np.median(areas) * 4 / np.pi), 0.15, 1.0))


def resample(sample: Sample, mpp: float) -> Sample:
    """Return the sample at so many micrometres per pixel."""
    factor = sample.mpp / mpp
    height, width = sample.labels.shape
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST)
    return replace(sample, image=np.asarray(image), labels=np.asarray(labels), mpp=mpp)
