"""Which nuclei a person should look at first."""

from collections.abc import Collection

import numpy as np
import pandas as pd

# Robust standard deviations from the median of its type at which a nucleus is half an outlier.
_HALF = 4.0

# Median absolute deviation of a normal distribution to its standard deviation.
_MAD = 1.4826


def uncertain_nuclei(table: pd.DataFrame, checked: Collection[int] = ()) -> pd.DataFrame:
    """Order nuclei by the doubt that there is about them.

    Three doubts of 0 to 1 are looked at, and the greatest counts: of the class (what the chosen
    type leaves to the others), of the size (how far its area is from that of its type, on a
    logarithmic scale), of the boundary (how far its solidity falls below that of its type, as it
    does where nuclei stick together or were cut).

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
        Columns `label`, `doubt` and `reason` (``"class"``, ``"size"`` or ``"boundary"``), the most
        doubtful first. Nuclei that are edited or checked, or leave no doubt, are left out.
    """
    area = table["area_um2"] if "area_um2" in table else table["area_px2"]
    size = _deviation(np.log(area), table["type"])
    boundary = _deviation(table["solidity"], table["type"])
    doubts = pd.DataFrame(
        {
            "class": (1 - table["type_prob"]).fillna(0).clip(0, 1),
            "size": _doubt(size.abs()),
            "boundary": _doubt((-boundary).clip(lower=0)),
        }
    ).astype(float)
    queue = pd.DataFrame(
        {
            "label": table["label"],
            "doubt": doubts.max(axis=1),
            "reason": doubts.columns.to_numpy()[doubts.to_numpy().argmax(axis=1)],
        }
    )
    open_ = ~table["edited"] & ~table["label"].isin(list(checked)) & (queue["doubt"] > 0)
    return queue[open_].sort_values("doubt", ascending=False, kind="stable", ignore_index=True)


def _deviation(values: pd.Series, types: pd.Series) -> pd.Series:
    """Return by how many robust standard deviations values differ from the median of their type."""
    centred = values - values.groupby(types).transform("median")
    spread = _MAD * centred.abs().groupby(types).transform("median")
    return (centred / spread.where(spread > 0)).fillna(0)


def _doubt(deviation: pd.Series) -> pd.Series:
    """Turn a deviation of 0 to infinity into a doubt of 0 to 1."""
    return deviation**2 / (deviation**2 + _HALF**2)
