"""Stain separation of haematoxylin and eosin."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Optical densities (red, green, blue) of haematoxylin, eosin and a third, brown stain (DAB) that
# takes what the first two do not explain, as Ruifrok & Johnston (2001) measured them.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(STAINS).T

WHITE = (255, 255, 255)
"""Red, green and blue of light that passes no tissue, where nothing else is known."""


def separate_stains(
    rgb: NDArray[np.uint8], white: tuple[int, int, int] = WHITE
) -> NDArray[np.float32]:
    """Return how much of each stain every pixel holds, in optical density.

    The optical density of a channel is ``-log10(value / white)``; black counts as 1, so that no
    channel exceeds 2.41.

    Parameters
    ----------
    rgb : ndarray of uint8
        Array (..., 3), uint8, red, green and blue of an H&E image.
    white : tuple of 3 int
        Values of light that passes no tissue, the white point of the scanner.

    Returns
    -------
    ndarray
        Array (..., 3), float32: haematoxylin, eosin and the residual, as optical densities from 0
        (none) upwards: six times `skimage.color.rgb2hed`, which divides by the density of 1e-6.

    References
    ----------
    Ruifrok & Johnston, Quantification of histochemical staining by color deconvolution, Analytical
    and Quantitative Cytology and Histology 23 (2001) 291-299.

    Examples
    --------
    >>> violet, pink = [80, 60, 130], [230, 150, 190]
    >>> hematoxylin, eosin, residual = separate_stains(np.uint8([violet, pink])).T
    >>> [round(float(density), 2) for density in hematoxylin]
    [0.73, 0.0]
    """
    if rgb.size == 0:
        return np.empty(rgb.shape, np.float32)
    # The logarithm is taken of 256 values, not of every pixel. One long row: OpenCV pays for rows.
    values = np.maximum(np.arange(256), 1)[None, :, None]
    densities = np.maximum(-np.log10(values / np.asarray(white)), 0)
    density = cv2.LUT(np.ascontiguousarray(rgb).reshape(1, -1, 3), densities.astype(np.float32))
    stains = cv2.transform(density, _UNMIX)
    return np.maximum(stains, 0, out=stains).reshape(rgb.shape)
