"""Label images and tables of types, as a dataset folder keeps them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from napari_nucleus.datasets.formats.files import read_csv, reading
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN


def read_types(file: Path) -> "pd.Series[str]":
    """Read a table of types: name of the type by the number of the nucleus.

    Parameters
    ----------
    file : Path
        CSV with columns ``label,type``; others are ignored. A nucleus without a type is left out.

    Raises
    ------
    UserError
        If it cannot be read, lacks a column, or gives a number twice.
    """
    table = read_csv(file, ["label", "type"]).dropna()
    twice = table["label"][table["label"].duplicated()]
    if len(twice):
        raise UserError(f"{file} gives label {twice.iloc[0]} two types: keep one of its rows.")
    return table.set_index("label")["type"].astype(str)


def type_index(
    types: "Mapping[int, str] | pd.Series[str]", names: Sequence[str], ids: np.ndarray
) -> np.ndarray:
    """Turn names of types into numbers.

    Parameters
    ----------
    types : mapping of int to str or pd.Series[str]
        Name by the number of the nucleus.
    names : sequence of str
        The types that count.
    ids : ndarray
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
    file : Path
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
    return number_labels(read_label_image(file), file)


def read_label_image(file: Path) -> np.ndarray:
    """Read the pixels of a label image as they are.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    if not file.exists():
        raise UserError(f"{file} is missing: every image needs a label image.")
    with reading(file, "a label image"):
        return tifffile.imread(file)


def number_labels(raw: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give the nuclei of a label image numbers from 1 on.

    Parameters
    ----------
    raw : ndarray
        (H, W) whole numbers, also as floats, 0 = background; numbers may be missing.
    file : Path
        Where they come from, for the message.

    Returns
    -------
    labels
        Int32 (H, W), nuclei are 1 to N.
    ids
        (N + 1,), the number that each had; 0 for the background.

    Raises
    ------
    UserError
        If they are no such numbers.
    """
    ids = np.unique(raw)
    numbers = raw.ndim == 2 and raw.size > 0 and raw.dtype.kind in "iuf"
    if not numbers or ids[0] < 0 or np.any(ids != np.trunc(ids)):
        raise UserError(f"{file} is no label image: it needs one channel of whole numbers from 0.")
    labels = np.searchsorted(ids, raw).astype(np.int32)
    ids = ids.astype(np.int64)
    return (labels, ids) if ids[0] == 0 else (labels + 1, np.concatenate([[0], ids]))
