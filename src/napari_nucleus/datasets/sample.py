"""Samples: annotated images for training and evaluation."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from napari_nucleus.measure import DEFAULT_MPP


@dataclass(frozen=True)
class Sample:
    """An annotated image.

    Attributes
    ----------
    name : str
        Name, unique in its dataset.
    dataset : str
        Name of the folder that the dataset lies in.
    image : (H, W, 3) ndarray of uint8
        RGB.
    labels : (H, W) ndarray of int32
        0 is background, nuclei are 1 to N.
    types : (N + 1,) ndarray of uint8
        Type index of each label; 0 for the background, `UNKNOWN` where no type is annotated.
    doubtful : (N + 1,) ndarray of bool
        Nuclei without an exact outline: they may be several, or only a box was drawn. Their pixels
        teach the foreground, not the shapes.
    mpp : float
        Micrometres per pixel.
    part : str
        Part of the dataset's official split that it belongs to; empty where there is none.
    tissue : str
        Tissue that the image shows, where the dataset gives it image by image; else empty.
    ignored : (H, W) ndarray of bool or None
        Background that was not annotated or is ambiguous: neither learned nor scored. None where
        there is none.
    """

    name: str
    dataset: str
    image: np.ndarray
    labels: np.ndarray
    types: np.ndarray
    doubtful: np.ndarray
    mpp: float
    part: str = ""
    tissue: str = ""
    ignored: np.ndarray | None = None


def estimate_mpp(labels: np.ndarray, diameter_um: float = 7.5) -> float:
    """Estimate µm/px from the size of the nuclei.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 = background.
    diameter_um : float
        Diameter of the median nucleus, in micrometres.

    Returns
    -------
    float
        Between 0.15 and 1; `DEFAULT_MPP` without nuclei.
    """
    areas = np.bincount(labels.ravel())[1:]
    if not len(areas):
        return DEFAULT_MPP
    return float(np.clip(diameter_um / np.sqrt(np.median(areas) * 4 / np.pi), 0.15, 1.0))


def resample(sample: Sample, mpp: float) -> Sample:
    """Resample an image with its annotation.

    Parameters
    ----------
    sample : Sample
        An annotated image.
    mpp : float
        Micrometres per pixel of the result.

    Returns
    -------
    Sample
        Image interpolated, labels by nearest neighbour.
    """
    factor = sample.mpp / mpp
    height, width = sample.labels.shape
    size = (max(round(width * factor), 1), max(round(height * factor), 1))

    def resized(pixels: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, resampling))

    ignored = sample.ignored
    if ignored is not None:
        ignored = resized(ignored.astype(np.uint8), Image.Resampling.NEAREST).astype(bool)
    return replace(
        sample,
        image=resized(sample.image, Image.Resampling.BILINEAR),
        labels=resized(sample.labels, Image.Resampling.NEAREST),
        ignored=ignored,
        mpp=mpp,
    )
