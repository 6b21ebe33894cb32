"""Label images and tables of types, as a dataset folder keeps them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from napari_nucleus.datasets.sample import UNKNOWN
from napari_nucleus.errors import UserError


def read_types(file: Path) -> "pd.Series[str]":
    """Read a table of types: name of the type by the number of the nucleus.

    Parameters
    ----------
    file
        CSV with columns ``label,type``; others are ignored. A nucleus without a type is left out.

    Raises
    ------
    UserError
        If it cannot be read, lacks a column, or gives a number twice.
    """
    table = read_table(file, ["label", "type"]).dropna()
    twice = table["label"][table["label"].duplicated()]
    if len(twice):
        raise UserError(f"{file} gives label {twice.iloc[0]} two types: keep one of its rows.")
    return table.set_index("label")["type"].astype(str)


def type_index(types: "pd.Series[str]", names: Sequence[str], ids: np.ndarray) -> np.ndarray:
    """Turn names of types into numbers.

    Parameters
    ----------
    types
        Name by the number of the nucleus.
    names
        The types that count.
    ids
        (N + 1,), number of each label; the first is the background's.

    Returns
    -------
    ndarray
        Uint8 (N + 1,): 0 for the background, 1 to K for the types that count, else `UNKNOWN`.
    """
    number = {name: i + 1 for i, name in enumerate(names)}
    known = {of: number[name] for of, name in types.items() if name in number}
    return np.array([0, *(known.get(of, UNKNOWN) for of in ids[1:].tolist())], np.uint8)


def read_labels(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a label image.

    Parameters
    ----------
    file
        TIFF of one channel of whole numbers, 0 = background.

    Returns
    -------
    labels
        Int32 (H, W), nuclei are 1 to N.
    ids
        (N + 1,), the number that each has in the file; 0 for the background.

    Raises
    ------
    UserError
        If it cannot be read as such.
    """
    try:
        raw = tifffile.imread(file)
    except FileNotFoundError:
        raise UserError(f"{file} is missing: every image needs a label image.") from None
    except Exception as error:  # whatever a damaged file provokes, tifffile lets through
        raise UserError(f"{file} cannot be read as a label image: {error}") from error
    if raw.ndim != 2 or raw.dtype.kind not in "iu" or raw.min() < 0:
        raise UserError(f"{file} is no label image: it needs one channel of whole numbers from 0.")
    ids, labels = np.unique(raw, return_inverse=True)
    labels = labels.reshape(raw.shape).astype(np.int32)
    return (labels, ids) if ids[0] == 0 else (labels + 1, np.concatenate([[0], ids]))


def read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a CSV file.

    Raises
    ------
    UserError
        If it cannot be read or lacks one of them.
    """
    try:
        return pd.read_csv(file, usecols=columns)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(
            f"{file} cannot be read as a table with columns {','.join(columns)}: {error}"
        ) from error
