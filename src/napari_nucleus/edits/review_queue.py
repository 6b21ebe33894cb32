"""Uncertain nuclei, to be reviewed first."""

from collections.abc import Collection

import numpy as np
import pandas as pd

# Robust standard deviations from the median of its type at which a nucleus is half an outlier.
_HALF = 4.0

# Median absolute deviation of a normal distribution to its standard deviation.
_MAD = 1.4826


def uncertain_nuclei(table: pd.DataFrame, checked: Collection[int] = ()) -> pd.DataFrame:
    """Order nuclei by uncertainty.

    Uncertainty is the largest of three scores from 0 to 1: of the class (probability of all other
    types), of the size (deviation of the logarithmic area from the median of the type) and of the
    boundary (solidity below the median of the type, as of nuclei that were merged or cut).

    Parameters
    ----------
    table : DataFrame
        Nuclei, with the columns `label`, `type`, `type_prob`, `area_um2` or `area_px2`,
        `solidity` and `edited`.
    checked : collection of int
        Labels that a person has accepted.

    Returns
    -------
    DataFrame
        Columns `label`, `uncertainty` (0 to 1) and `reason` (``"class"``, ``"size"`` or
        ``"boundary"``), the most uncertain first. Nuclei that are edited, checked or of
        uncertainty 0 are left out.
    """
    area = table["area_um2"] if "area_um2" in table else table["area_px2"]
    size = _deviation(np.log(area), table["type"])
    boundary = _deviation(table["solidity"], table["type"])
    scores = pd.DataFrame(
        {
            "class": (1 - table["type_prob"]).fillna(0).clip(0, 1),
            "size": _score(size.abs()),
            "boundary": _score((-boundary).clip(lower=0)),
        }
    ).astype(float)
    queue = pd.DataFrame(
        {
            "label": table["label"],
            "uncertainty": scores.max(axis=1),
            "reason": scores.columns.to_numpy()[scores.to_numpy().argmax(axis=1)],
        }
    )
    open_ = ~table["edited"] & ~table["label"].isin(list(checked)) & (queue["uncertainty"] > 0)
    return queue[open_].sort_values(
        "uncertainty", ascending=False, kind="stable", ignore_index=True
    )


def _deviation(values: pd.Series, types: pd.Series) -> pd.Series:
    """Return by how many robust standard deviations values differ from the median of their type."""
    centred = values - values.groupby(types).transform("median")
    spread = _MAD * centred.abs().groupby(types).transform("median")
    return (centred / spread.where(spread > 0)).fillna(0)


def _score(deviation: pd.Series) -> pd.Series:
    """Turn a deviation of 0 to infinity into a score of 0 to 1."""
    return deviation**2 / (deviation**2 + _HALF**2)
