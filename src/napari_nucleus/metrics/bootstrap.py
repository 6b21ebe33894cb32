"""Confidence intervals of scores by the bootstrap over images (Efron, Annals of Statistics 1979).

A resampled dataset is a row of weights: how often it contains each image. One formula of the
weights gives a score of the dataset itself, where every weight is 1, and of a thousand resampled
ones.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def resample(images: int, n: int = 1000, seed: int = 0) -> Floats:
    """Resample a dataset: draw as many images as it has, with replacement.

    Parameters
    ----------
    images : int
        Number of images.
    n : int
        Number of resampled datasets.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    (n, images) ndarray of float
        How often each dataset contains each image.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=n).astype(float)


def weighted_mean(values: ArrayLike, weights: ArrayLike) -> Floats:
    """Return the mean over the images of each dataset, without NaN.

    Parameters
    ----------
    values : (N,) or (N, K) array of float
        One score, or K, per image.
    weights : (R, N) array of float
        How often each dataset contains each image.

    Returns
    -------
    (R,) or (R, K) ndarray of float
        NaN where all values are NaN.
    """
    scores, weights = np.asarray(values, float), np.asarray(weights, float)
    defined = ~np.isnan(scores)
    return ratio(weights @ np.where(defined, scores, 0), weights @ defined)


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Divide; NaN where the divisor is not positive.

    Parameters
    ----------
    part, whole : array of float
        Dividend and divisor, which are broadcast.

    Returns
    -------
    ndarray of float
        Their ratio.
    """
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def interval(drawn: ArrayLike) -> Floats:
    """Return the 95 % percentile interval of a score.

    Parameters
    ----------
    drawn : (R, …) array of float
        Its value in each resampled dataset; NaN where it is undefined.

    Returns
    -------
    (2, …) ndarray of float
        Lower and upper end; NaN where all values are NaN.
    """
    values = np.asarray(drawn, float)
    undefined = np.isnan(values).all(axis=0)
    ends = np.nanpercentile(np.where(undefined, 0, values), [2.5, 97.5], axis=0)
    return np.where(undefined, np.nan, ends)


def bootstrap_ci(values: ArrayLike, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean over images.

    Parameters
    ----------
    values : (N,) array of float
        One score per image, NaN where it is undefined.
    n : int
        Number of resampled datasets.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    tuple of 2 float
        Lower and upper end; NaN if all values are NaN.

    Examples
    --------
    >>> low, high = bootstrap_ci([0.5, 0.6, 0.7, 0.8])
    >>> 0.5 <= low < 0.65 < high <= 0.8
    True
    """
    scores = np.asarray(values, float)
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        return np.nan, np.nan
    low, high = interval(weighted_mean(scores, resample(len(scores), n, seed)))
    return float(low), float(high)
