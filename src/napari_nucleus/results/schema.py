"""Contents of the files of a result folder."""

import re
from typing import Any, NotRequired, TypedDict

import pyarrow as pa

from napari_nucleus.measure import POSITION_COLUMNS, measurement_columns

FORMAT = 1
"""Version of the format; raised when files of earlier versions would be misread."""

ROW_GROUP = 50_000
"""Nuclei per row group of the table; the hundreds of one tile would make a large and slow file."""


class SourceInfo(TypedDict):
    """The image: path (None for a layer without a file), hash, size in level-0 px, µm/px.

    `relative` is its path seen from the folder that the result is in, None on another drive. The
    hash is `Slide.digest`. `scene` is the image in a file of several, `srgb` tells whether its
    colours were converted.
    """

    path: str | None
    relative: NotRequired[str | None]
    sha256: str
    scene: NotRequired[str]
    srgb: NotRequired[bool]
    width: int
    height: int
    mpp: float | None


class ModelInfo(TypedDict):
    """The model: name, hash of its weights, the µm/px it works at, its types."""

    name: str
    sha256: str
    mpp: float
    types: list[str]


class Run(TypedDict):
    """Contents of `run.json`."""

    format: int
    version: str
    source: SourceInfo
    model: ModelInfo
    types: dict[str, str]
    options: dict[str, Any]
    tissue: NotRequired[float]
    device: str
    started: str
    seconds: dict[str, float]
    counts: dict[str, int]


def table_schema(mpp: float | None) -> pa.Schema:
    """Return the columns of `nuclei.parquet`.

    Parameters
    ----------
    mpp : float or None
        µm per level-0 pixel, None if unknown.

    Returns
    -------
    pyarrow.Schema
        `label`, `type`, `type_prob`, positions in level-0 pixels, measurements with their units in
        the names, `edited`, and `region`, empty where the whole image or a box was segmented.
    """
    center, box = POSITION_COLUMNS[:2], POSITION_COLUMNS[2:]
    return pa.schema(
        [("label", pa.int32()), ("type", pa.string()), ("type_prob", pa.float32())]
        + [(name, pa.float64()) for name in center]
        + [(name, pa.int32()) for name in box]
        + [(name, pa.float32()) for name in measurement_columns(mpp)]
        + [("edited", pa.bool_()), ("region", pa.string())]
    )


def with_region(table: pa.Table) -> pa.Table:
    """Return a table with the column `region`, which results of earlier versions do not have.

    Parameters
    ----------
    table : pyarrow.Table
        As `nuclei.parquet` has it.

    Returns
    -------
    pyarrow.Table
        With an empty `region` where there was none.
    """
    if "region" in table.column_names:
        return table
    return table.append_column("region", pa.array([""] * len(table), pa.string()))


_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def escape_formula(name: str) -> str:
    """Return a type's name so that a spreadsheet shows it and does not compute it.

    Parameters
    ----------
    name : str
        Name of a type.

    Returns
    -------
    str
        With an apostrophe before it if it begins like a formula (OWASP, "CSV injection").

    Examples
    --------
    >>> escape_formula("=1+1"), escape_formula("tumour")
    ("'=1+1", 'tumour')
    """
    return f"'{name}" if _FORMULA.match(name) else name


def unescape_formula(name: str) -> str:
    """Return the name that `escape_formula` was given.

    Parameters
    ----------
    name : str
        As in a CSV file.

    Returns
    -------
    str
        Name of a type.

    Examples
    --------
    >>> unescape_formula("'=1+1"), unescape_formula("'s")
    ('=1+1', "'s")
    """
    return name[1:] if name.startswith("'") and _FORMULA.match(name) else name
