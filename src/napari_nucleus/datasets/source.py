"""Where annotated images come from, and how they are read into samples at one resolution."""

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from napari_nucleus.datasets.folder import image_files
from napari_nucleus.datasets.labels import read_labels, read_table, read_types, type_index
from napari_nucleus.datasets.sample import Sample, estimate_mpp, resample
from napari_nucleus.errors import UserError
from napari_nucleus.slides import open_slide


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Source:
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


def is_held_out(source: Source, name: str) -> bool:
    """Tell whether an image is kept for validation."""
    return any(fnmatch(name, pattern) for pattern in source.holdout)


def load_source(
    source: Source, types: Iterable[str] = (), mpp: float | None = None
) -> list[Sample]:
    """Read the images of a source.

    Parameters
    ----------
    source
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
    doubtful = _read_doubtful(source)
    samples = []
    for file in image_files(source.path):
        sample = _read(source, file, list(types), doubtful.get(file.stem, set()))
        samples.append(sample if mpp is None else resample(sample, mpp))
    return samples


def find_types(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return the names of the types that dataset folders annotate, in alphabetical order.

    Raises
    ------
    UserError
        If a table of types cannot be read.
    """
    tables = (file for source in sources for file in (source.path / "labels").glob("*.csv"))
    return tuple(sorted({name for file in tables for name in read_types(file)}))


def _read(source: Source, file: Path, types: list[str], doubtful: set[int]) -> Sample:
    slide = open_slide(file)
    height, width = slide.shape
    label_file = source.path / source.labels / f"{file.stem}.tif"
    labels, ids = read_labels(label_file)
    if labels.shape != slide.shape:
        raise UserError(
            f"{label_file} is {labels.shape[1]} x {labels.shape[0]} px, its image "
            f"{width} x {height}: they must match."
        )
    table = source.path / "labels" / f"{file.stem}.csv"
    given = read_types(table) if types and table.exists() else pd.Series(dtype=str)
    return Sample(
        name=file.stem,
        dataset=source.path.name,
        image=slide.read(0, 0, width, height),
        labels=labels,
        types=type_index(given, types, ids),
        doubtful=np.isin(ids, list(doubtful)),
        mpp=estimate_mpp(labels) if source.mpp == "nuclei" else source.mpp,
    )


def _read_doubtful(source: Source) -> dict[str, set[int]]:
    if source.doubtful is None:
        return {}
    table = read_table(source.path / source.doubtful, ["name", "label"])
    return {str(name): set(rows["label"]) for name, rows in table.groupby("name")}
