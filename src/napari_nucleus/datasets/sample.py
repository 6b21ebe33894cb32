"""What a network is trained and scored on: an image whose nuclei are known."""

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
        Which image; no other of its dataset has the same.
    dataset : str
        Name of the folder that the dataset lies in.
    image : (H, W, 3) ndarray of uint8
        RGB.
    labels : (H, W) ndarray of int32
        0 is background, nuclei are 1 to N.
    types : (N + 1,) ndarray of uint8
        Type index of each label; 0 for the background, `UNKNOWN` where no type is
        given.
    doubtful : (N + 1,) ndarray of bool
        Nuclei that are there but whose outline is not: they may be several, or were
        only boxed. Their pixels teach the foreground, not the shapes.
    mpp : float
        Micrometres per pixel.
    part : str
        Part of the dataset's official split that it belongs to; empty where there is none.
    tissue : str
        What the image shows, where the dataset tells it image by image; else empty.
    ignored : (H, W) ndarray of bool or None
        Background in which there may be nuclei all the same: nobody looked, or nobody
        could tell. Neither learned from nor scored. None where there is none of it.
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
    """Take the median nucleus for `diameter_um` wide; `DEFAULT_MPP` where there is none."""
    areas = np.bincount(labels.ravel())[1:]
    if not len(areas):
        return DEFAULT_MPP
    return float(np.clip(diameter_um / np.sqrt(np.median(areas) * 4 / np.pi), 0.15, 1.0))


def resample(sample: Sample, mpp: float) -> Sample:
    """Return the sample at so many micrometres per pixel."""
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
