"""Label images and tables of types, as a dataset folder keeps them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.measure
import tifffile

from napari_nucleus.datasets.formats.files import read_csv, reading
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.results.schema import unescape_formula


def read_types(file: Path) -> "pd.Series[str]":
    """Read a table of types.

    Parameters
    ----------
    file : Path
        CSV with columns ``label,type``; others are ignored. An apostrophe before a formula, as
        `results.export.write_csv` writes it, is not part of the name.

    Returns
    -------
    pd.Series[str]
        Type by label, without the nuclei that have no type.

    Raises
    ------
    UserError
        If it cannot be read, lacks a column, or gives a label two types.
    """
    table = read_csv(file, ["label", "type"], numbers=["label"])
    table = table[table["label"].notna() & (table["type"] != "")]
    twice = table["label"][table["label"].duplicated()]
    if len(twice):
        raise UserError(f"{file} gives label {twice.iloc[0]} more than one type: keep one row.")
    return table.set_index("label")["type"].map(unescape_formula)


def type_index(
    types: "Mapping[int, str] | pd.Series[str]", names: Sequence[str], ids: np.ndarray
) -> np.ndarray:
    """Return the index of the type of each nucleus.

    Parameters
    ----------
    types : mapping of int to str or pd.Series[str]
        Name of the type by label in the file.
    names : sequence of str
        The K types that count.
    ids : (N + 1,) ndarray of int
        Label in the file of each nucleus; the first is the background's.

    Returns
    -------
    (N + 1,) ndarray of uint8
        0 for the background, 1 to K for the types that count, else `UNKNOWN`.
    """
    number = {name: i + 1 for i, name in enumerate(names)}
    known = {label: number[name] for label, name in types.items() if name in number}
    return np.array([0, *(known.get(label, UNKNOWN) for label in ids[1:].tolist())], np.uint8)


def read_labels(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a label image.

    Parameters
    ----------
    file : Path
        TIFF of one channel of whole numbers, 0 = background.

    Returns
    -------
    labels : (H, W) ndarray of int32
        Nuclei are 1 to N.
    ids : (N + 1,) ndarray of int64
        The label that each has in the file; 0 for the background.

    Raises
    ------
    UserError
        If it cannot be read as such, or is a mask of nuclei or classes.
    """
    labels, ids = number_labels(read_label_image(file), file)
    _refuse_mask(labels, ids, file)
    return labels, ids


def read_label_image(file: Path) -> np.ndarray:
    """Read the pixels of a label image as they are.

    Parameters
    ----------
    file : Path
        TIFF file.

    Returns
    -------
    ndarray
        Of any shape and dtype.

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
    """Renumber the nuclei of a label image from 1.

    Parameters
    ----------
    raw : (H, W) ndarray of int or float
        Whole numbers, 0 = background; numbers may be missing.
    file : Path
        File that they come from, for the message.

    Returns
    -------
    labels : (H, W) ndarray of int32
        Nuclei are 1 to N.
    ids : (N + 1,) ndarray of int64
        The label that each had; 0 for the background.

    Raises
    ------
    UserError
        If these are not labels.
    """
    ids = np.unique(raw)
    numbers = raw.ndim == 2 and raw.size > 0 and raw.dtype.kind in "iuf"
    if not numbers or ids[0] < 0 or np.any(ids != np.trunc(ids)):
        raise UserError(
            f"{file} is not a label image: it needs one channel of whole numbers from 0."
        )
    labels = np.searchsorted(ids, raw).astype(np.int32)
    ids = ids.astype(np.int64)
    return (labels, ids) if ids[0] == 0 else (labels + 1, np.concatenate([[0], ids]))


def _refuse_mask(labels: np.ndarray, ids: np.ndarray, file: Path) -> None:
    """Refuse a binary mask, or one number per class, in which a number stands for many nuclei.

    A nucleus may be in pieces, where others cover it; on average they are no more than two of
    similar size.
    """
    pieces = skimage.measure.label(labels, connectivity=2)
    _, first, area = np.unique(pieces, return_index=True, return_counts=True)
    owner = labels.ravel()[first]
    largest = np.zeros(len(ids), int)
    np.maximum.at(largest, owner, area)
    similar = 4 * area >= largest[owner]
    count = np.bincount(owner[similar], minlength=len(ids))[1:]
    is_binary = ids[1:].tolist() == [255] and count[0] > 1
    if is_binary or (len(count) and count.mean() > 2):
        raise UserError(
            f"{file} looks like a mask, not a label image: {len(count)} number(s) for "
            f"{count.sum()} separate areas. Give every nucleus a number of its own, such as by "
            "connected components."
        )
