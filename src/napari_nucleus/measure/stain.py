"""Stain separation of haematoxylin and eosin."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Optical densities (red, green, blue) of haematoxylin, eosin and a third, brown stain (DAB) that
# takes what the first two do not explain, as Ruifrok & Johnston (2001) measured them.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_UNMIX = np.linalg.inv(STAINS).T

# Optical density of every 8-bit value, in units of the darkest one that is told from black: the
# logarithm is taken 256 times, not once a pixel.
_FLOOR = 1e-6
_DENSITY = (np.log(np.maximum(np.arange(256) / 255, _FLOOR)) / np.log(_FLOOR)).astype(np.float32)


def separate_stains(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much of each stain every pixel holds.

    Parameters
    ----------
    rgb : ndarray of uint8
        Array (..., 3), uint8, red, green and blue of an H&E image.

    Returns
    -------
    ndarray
        Array (..., 3), float32: haematoxylin, eosin and the residual, as optical densities from 0
        (none) upwards, in the units of `skimage.color.rgb2hed`.

    References
    ----------
    Ruifrok & Johnston, Quantification of histochemical staining by color deconvolution, Analytical
    and Quantitative Cytology and Histology 23 (2001) 291-299.

    Examples
    --------
    >>> violet, pink = [80, 60, 130], [230, 150, 190]
    >>> hematoxylin, eosin, residual = separate_stains(np.uint8([violet, pink])).T
    >>> bool(hematoxylin[0] > hematoxylin[1])
    True
    """
    if rgb.size == 0:
        return np.empty(rgb.shape, np.float32)
    # One long row: OpenCV pays for every row.
    density = cv2.LUT(np.ascontiguousarray(rgb).reshape(1, -1, 3), _DENSITY)
    stains = cv2.transform(density, _UNMIX)
    return np.maximum(stains, 0, out=stains).reshape(rgb.shape)
