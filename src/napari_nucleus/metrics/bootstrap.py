"""How sure a score is: data sets drawn anew from the same images (Efron 1979).

A drawn data set is a row of weights, how often each image is in it. Whatever reckons a score from
weights gives its value on the data set itself, where every weight is 1, and on a thousand drawn
ones, by one formula.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def resample(images: int, n: int = 1000, seed: int = 0) -> Floats:
    """Draw data sets of as many images as there are, with replacement.

    Parameters
    ----------
    images : int
        How many there are.
    n : int
        How many data sets to draw.
    seed : int
        The same seed draws the same ones.

    Returns
    -------
    (n, images) array
        How often each image is in each data set.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=n).astype(float)


def weighted_mean(values: ArrayLike, weights: ArrayLike) -> Floats:
    """Mean over images in each data set, NaN left out; NaN where nothing is left.

    Parameters
    ----------
    values : (N,) or (N, K) array
        One score, or K, per image.
    weights : (R, N) array
        How often each image is in each data set.

    Returns
    -------
    (R,) or (R, K) array
    """
    scores, weights = np.asarray(values, float), np.asarray(weights, float)
    defined = ~np.isnan(scores)
    return ratio(weights @ np.where(defined, scores, 0), weights @ defined)


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Divide, NaN where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def interval(drawn: ArrayLike) -> Floats:
    """Return the 95 % percentile interval of a score.

    Parameters
    ----------
    drawn : (R, …) array
        Its value in each drawn data set; NaN, where it is undefined, is left out.

    Returns
    -------
    (2, …) array
        Lower and upper end; NaN where the score is defined in none.
    """
    values = np.asarray(drawn, float)
    undefined = np.isnan(values).all(axis=0)
    ends = np.nanpercentile(np.where(undefined, 0, values), [2.5, 97.5], axis=0)
    return np.where(undefined, np.nan, ends)


def bootstrap_ci(values: ArrayLike, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean over images.

    Parameters
    ----------
    values : (N,) array
        One score per image; NaN is left out.
    n, seed : int
        As `resample` has them.

    Returns
    -------
    tuple
        Lower and upper end; NaN without any value.

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
