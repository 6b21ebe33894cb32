"""Uncertain nuclei, to be reviewed first."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_nucleus.results.journal.rows import Rows

# Robust standard deviations from the median of its type at which a nucleus is half an outlier.
_HALF = 4.0

# Median absolute deviation of a normal distribution to its standard deviation.
_MAD = 1.4826


def uncertain_nuclei(
    table: pd.DataFrame | Rows, checked: Collection[int] = (), count: int | None = None
) -> pd.DataFrame:
    """Order nuclei by uncertainty.

    Uncertainty is the largest of three scores from 0 to 1: of the class (probability of all other
    types), of the size (deviation of the logarithmic area from the median of the type) and of the
    boundary (solidity below the median of the type, as of nuclei that were merged or cut).

    Parameters
    ----------
    table : DataFrame or Rows
        Nuclei, with the columns `label`, `type`, `type_prob`, `area_um2` or `area_px2`,
        `solidity` and `edited`.
    checked : collection of int
        Labels that a person has accepted.
    count : int or None
        Nuclei to return at most, None for all.

    Returns
    -------
    DataFrame
        Columns `label`, `uncertainty` (0 to 1) and `reason` (``"class"``, ``"size"`` or
        ``"boundary"``), the most uncertain first. Nuclei that are edited, checked or of
        uncertainty 0 are left out.
    """
    area = table["area_um2"] if "area_um2" in table else table["area_px2"]
    types, _ = pd.factorize(table["type"])
    size = _deviation(np.log(area), types)
    boundary = _deviation(table["solidity"], types)
    class_ = np.nan_to_num(1 - np.asarray(table["type_prob"], float)).clip(0, 1)
    scores = np.stack([class_, _score(size), _score(boundary.clip(max=0))])
    uncertainty = scores.max(axis=0)
    labels = np.asarray(table["label"])
    seen = np.asarray(table["edited"], bool) | np.isin(labels, list(checked))
    queue = np.flatnonzero(~seen & (uncertainty > 0))
    queue = queue[np.argsort(-uncertainty[queue], kind="stable")][:count]
    return pd.DataFrame(
        {
            "label": labels[queue],
            "uncertainty": uncertainty[queue],
            "reason": np.array(["class", "size", "boundary"])[scores[:, queue].argmax(axis=0)],
        }
    )


def _deviation(values: ArrayLike, types: np.ndarray) -> np.ndarray:
    """Return by how many robust standard deviations values differ from the median of their type."""
    centred = np.asarray(values, float)
    centred = centred - _medians(centred, types)
    spread = _MAD * _medians(np.abs(centred), types)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _medians(values: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return the median of the values of the same type, for each value."""
    return pd.Series(values).groupby(types).transform("median").to_numpy()


def _score(deviation: np.ndarray) -> np.ndarray:
    """Turn a deviation of 0 to infinity into a score of 0 to 1."""
    return deviation**2 / (deviation**2 + _HALF**2)
