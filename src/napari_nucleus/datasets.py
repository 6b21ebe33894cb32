"""Dataset folders: images, label images and types, read into samples at one resolution."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import tifffile
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from napari_nucleus.errors import UserError
from napari_nucleus.slides import open_slide

UNKNOWN = 255
"""Type index of a nucleus whose type nobody annotated."""

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class Sample:
    """An annotated image.

    Attributes
    ----------
    name
        Stem of the image file.
    dataset
        Name of the dataset folder.
    image
        Uint8 (H, W, 3), RGB.
    labels
        Int32 (H, W), 0 is background, nuclei are 1 to N.
    types
        Uint8 (N + 1,), type index of each label; 0 for the background, `UNKNOWN` where no type is
        given.
    doubtful
        Bool (N + 1,), nuclei that are there but may be several: their pixels teach the foreground,
        not the shapes.
    mpp
        Micrometres per pixel.
    """

    name: str
    dataset: str
    image: np.ndarray
    labels: np.ndarray
    types: np.ndarray
    doubtful: np.ndarray
    mpp: float


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Folder:
    """How one dataset folder is to be read.

    Attributes
    ----------
    path
        Folder with ``images/<name>.png|jpg|tif``, ``labels/<name>.tif`` and optionally
        ``labels/<name>.csv`` with columns ``label,type``.
    mpp
        Micrometres per pixel of its images; ``"nuclei"`` estimates it per image from its nuclei,
        for collections of unknown magnification.
    holdout
        Patterns of the image names that are kept for validation.
    labels
        Name of the folder with the label images.
    doubtful
        CSV file in the folder with columns ``name,label``: nuclei that may be several.
    share
        Share of the training patches that come from this folder, relative to the others.
    """

    path: Path
    mpp: Annotated[float, Field(gt=0)] | Literal["nuclei"] = 0.25
    holdout: tuple[str, ...] = ()
    labels: str = "labels"
    doubtful: str | None = None
    share: Annotated[float, Field(ge=0)] = 1.0


def image_files(folder: Path) -> list[Path]:
    """Return the images of a dataset folder, by name.

    Raises
    ------
    UserError
        If there is none.
    """
    images = folder / "images"
    files = [f for f in sorted(images.glob("*")) if f.suffix.lower() in _IMAGES]
    if not files:
        raise UserError(
            f"{folder} holds no images/<name>.png, .jpg or .tif: name a dataset folder."
        )
    return files


def is_held_out(folder: Folder, name: str) -> bool:
    """Tell whether an image is kept for validation."""
    return any(fnmatch(name, pattern) for pattern in folder.holdout)


def load_folder(
    folder: Folder, types: Iterable[str] = (), mpp: float | None = None
) -> list[Sample]:
    """Read a dataset folder.

    Parameters
    ----------
    folder
        What to read.
    types
        Names of the types to be learned; nuclei of other types are `UNKNOWN`.
    mpp
        Micrometres per pixel that the samples are resampled to; None leaves them as they are.

    Returns
    -------
    list of Sample
        By name.

    Raises
    ------
    UserError
        If an image has no labels, or labels do not match their image.
    """
    doubtful = _read_doubtful(folder)
    samples = []
    for file in image_files(folder.path):
        sample = _read(folder, file, list(types), doubtful.get(file.stem, set()))
        samples.append(sample if mpp is None else _resample(sample, mpp))
    return samples


def find_types(folders: Iterable[Folder]) -> tuple[str, ...]:
    """Return the names of the types that dataset folders annotate, in alphabetical order.

    Raises
    ------
    UserError
        If a table of types cannot be read.
    """
    tables = (file for folder in folders for file in (folder.path / "labels").glob("*.csv"))
    return tuple(sorted({name for file in tables for name in read_types(file)}))


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
    table = _read_table(file, ["label", "type"]).dropna()
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


def _read(folder: Folder, file: Path, types: list[str], doubtful: set[int]) -> Sample:
    slide = open_slide(file)
    height, width = slide.shape
    label_file = folder.path / folder.labels / f"{file.stem}.tif"
    labels, ids = read_labels(label_file)
    if labels.shape != slide.shape:
        raise UserError(
            f"{label_file} is {labels.shape[1]} x {labels.shape[0]} px, its image "
            f"{width} x {height}: they must match."
        )
    table = folder.path / "labels" / f"{file.stem}.csv"
    given = read_types(table) if types and table.exists() else pd.Series(dtype=str)
    return Sample(
        name=file.stem,
        dataset=folder.path.name,
        image=slide.read(0, 0, width, height),
        labels=labels,
        types=type_index(given, types, ids),
        doubtful=np.isin(ids, list(doubtful)),
        mpp=_estimate_mpp(labels) if folder.mpp == "nuclei" else folder.mpp,
    )


def _read_doubtful(folder: Folder) -> dict[str, set[int]]:
    if folder.doubtful is None:
        return {}
    table = _read_table(folder.path / folder.doubtful, ["name", "label"])
    return {str(name): set(rows["label"]) for name, rows in table.groupby("name")}


def _read_table(file: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(file, usecols=columns)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(
            f"{file} cannot be read as a table with columns {','.join(columns)}: {error}"
        ) from error


def _estimate_mpp(labels: np.ndarray, diameter_um: float = 7.5) -> float:
    """Take the median nucleus for `diameter_um` wide; 0.25 where there is none."""
    areas = np.bincount(labels.ravel())[1:]
    if not len(areas):
        return 0.25
    return float(np.clip(diameter_um / np.sqrt(np.median(areas) * 4 / np.pi), 0.15, 1.0))


def _resample(sample: Sample, mpp: float) -> Sample:
    factor = sample.mpp / mpp
    height, width = sample.labels.shape
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST)
    return Sample(
        sample.name,
        sample.dataset,
        np.asarray(image),
        np.asarray(labels),
        sample.types,
        sample.doubtful,
        mpp,
    )
