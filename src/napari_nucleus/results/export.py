"""Export of results: tables, GeoJSON for QuPath, label image and overlay."""

import itertools
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import shapely
import tifffile
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing
from napari_nucleus.measure import POSITION_COLUMNS, measurement_columns
from napari_nucleus.measure.outlines import outlines
from napari_nucleus.results.outputs import check_outputs, writing
from napari_nucleus.results.reader import Result
from napari_nucleus.results.schema import escape_formula, table_schema

# Labels are read in blocks of this side, so that memory does not grow with the slide.
_BLOCK = 2048
_TIFF_TILE = 512
# Above this, the offsets of a classic TIFF may not reach the end of the file.
_CLASSIC_TIFF_BYTES = 2**32 - 2**25


def write_csv(result: Result, path: str | PathLike[str]) -> None:
    """Write the table of nuclei as CSV: one row per nucleus, units in the column names.

    Positions are in level-0 pixels, rounded to 2 decimals; probability and measurements to 4
    significant digits. UTF-8, with a byte-order mark only if the name of a type or region is not
    ASCII: Excel needs it then, and some programs cannot read it. A name that begins like a formula,
    such as ``=1+1``, has an apostrophe before it.

    Parameters
    ----------
    result : Result
        The result.
    path : str or path
        The file to write.

    Raises
    ------
    UserError
        If the file cannot be written, is the image or lies in a result (`check_outputs`), or the
        result is damaged.
    """
    with writing(result, path) as part, part.open("wb") as file:
        names = [*result.types, *(result.run["options"].get("regions") or ())]
        if not "".join(names).isascii():
            file.write("\ufeff".encode())
        # What is rounded in single precision would be written with all its wrong digits.
        schema = pa.schema(
            field.with_type(pa.float64()) if pa.types.is_floating(field.type) else field
            for field in table_schema(result.mpp)
        )
        with pa.csv.CSVWriter(file, schema) as writer:
            for table in result.tables():
                rows = pa.Table.from_pandas(_rounded(table, result), schema, False)
                writer.write_table(rows)


def write_parquet(result: Result, path: str | PathLike[str]) -> None:
    """Write the table of nuclei as Parquet, unrounded.

    Parameters
    ----------
    result : Result
        The result.
    path : str or path
        The file to write.

    Raises
    ------
    UserError
        As `write_csv`.
    """
    with (
        writing(result, path) as part,
        part.open("wb") as file,  # pyarrow itself takes no name that is not UTF-8
        pq.ParquetWriter(file, table_schema(result.mpp)) as writer,
    ):
        for table in result.tables():
            writer.write_table(pa.Table.from_pandas(table, table_schema(result.mpp), False))


def write_geojson(result: Result, path: str | PathLike[str]) -> None:
    """Write the nuclei as a GeoJSON feature collection for QuPath 0.5 and later.

    Every nucleus is a detection with its outline (x, y) along the edges of its pixels, in level-0
    pixels, its label as name, its type with colour, and its measurements.

    Parameters
    ----------
    result : Result
        The result.
    path : str or path
        The file to write.

    Raises
    ------
    UserError
        As `write_csv`.
    """
    classifications = {
        name: {"name": name, "color": _rgb(color)} for name, color in result.types.items()
    }
    measurements = ["type_prob", *measurement_columns(result.mpp)]
    with writing(result, path) as part, part.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        separator = "\n"
        for table, geometries in _blocks(result):
            values = _significant(table[measurements]).to_dict("records")
            rows = zip(table["label"], table["type"], values, geometries, strict=True)
            for label, type_name, measured, geometry in rows:
                properties = {
                    "objectType": "detection",
                    "name": str(label),
                    "classification": classifications[type_name],
                    "measurements": {k: v for k, v in measured.items() if v == v},
                }
                file.write(
                    f'{separator}{{"type": "Feature", "geometry": {geometry}, '
                    f'"properties": {json.dumps(properties, ensure_ascii=False)}}}'
                )
                separator = ",\n"
        file.write("\n]}\n")


def write_labels(result: Result, path: str | PathLike[str]) -> None:
    """Write the labels as a tiled, compressed int32 TIFF, 0 = background (BigTIFF where needed).

    Parameters
    ----------
    result : Result
        The result.
    path : str or path
        The file to write.

    Raises
    ------
    UserError
        As `write_csv`.
    """
    height, width = result.shape
    big = 4 * height * width > _CLASSIC_TIFF_BYTES
    per_cm = None if result.mpp is None else 10_000 / result.mpp
    with writing(result, path) as part, tifffile.TiffWriter(part, bigtiff=big) as file:
        file.write(
            _tiles(result),
            shape=result.shape,
            dtype="int32",
            tile=(_TIFF_TILE, _TIFF_TILE),
            compression="adobe_deflate",
            predictor=True,
            photometric="minisblack",
            metadata=None,
            resolution=None if per_cm is None else (per_cm, per_cm),
            resolutionunit=None if per_cm is None else "CENTIMETER",
        )


def write_overlay(
    result: Result,
    path: str | PathLike[str],
    max_size: int = 4000,
    image: str | PathLike[str] | None = None,
) -> None:
    """Write the image with the nuclei outlined in the colours of their types, as PNG.

    Parameters
    ----------
    result : Result
        The result.
    path : str or path
        The file to write.
    max_size : int
        Longer side in pixels; larger images are scaled down.
    image : str or path or None
        Where the image is now; None looks where it was, and beside the result.

    Raises
    ------
    UserError
        If the image is missing or another one, or as `write_csv`.
    """
    check_outputs(result, [path], None if image is None else Path(image))
    slide = result.open_image(image)
    height, width = result.shape
    scale = min(1.0, max_size / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    pixels = slide.read_scaled((0, 0, width, height), size).copy()
    labels = _scaled_labels(result, size)
    edge = _edges(labels)
    table = result.table().sort_values("label")
    colors = table["type"].map({name: _rgb(color) for name, color in result.types.items()})
    palette = np.array(colors.tolist(), np.uint8).reshape(-1, 3)
    pixels[edge] = palette[np.searchsorted(table["label"], labels[edge])]
    with replacing(path) as part:
        Image.fromarray(pixels).save(part, "PNG")


def _rgb(color: str) -> list[int]:
    return list(bytes.fromhex(color.removeprefix("#")))


def _rounded(table: pd.DataFrame, result: Result) -> pd.DataFrame:
    positions = list(POSITION_COLUMNS)
    measures = ["type_prob", *measurement_columns(result.mpp)]
    return table.assign(
        type=_escaped(table["type"]),
        region=_escaped(table["region"]),
        **table[positions].round(2),
        **_significant(table[measures]),
    )


def _escaped(names: pd.Series) -> pd.Series:
    return names.map({name: escape_formula(name) for name in names.unique()})


def _significant(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """Round to so many significant digits."""
    values = table.to_numpy(np.float64)
    size = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    # Powers of ten are exact above one only; dividing by them gives the shortest decimals.
    shift = digits - 1 - size
    up, down = 10.0 ** np.maximum(shift, 0), 10.0 ** np.maximum(-shift, 0)
    return pd.DataFrame(np.round(values * up / down) * down / up, table.index, table.columns)


def _blocks(result: Result) -> Iterator[tuple[pd.DataFrame, list[str]]]:
    """Yield the nuclei that begin in each block of the slide, with their outlines as GeoJSON."""
    table = result.table()
    for _, nuclei in table.groupby([table["y0"] // _BLOCK, table["x0"] // _BLOCK]):
        x0, y0 = int(nuclei["x0"].min()), int(nuclei["y0"].min())
        x1, y1 = int(nuclei["x1"].max()), int(nuclei["y1"].max())
        found = outlines(result.read_labels(x0, y0, x1 - x0, y1 - y0), (x0, y0))
        try:
            geometries = [found[label] for label in nuclei["label"]]
        except KeyError as error:
            raise UserError(
                f"{result.path} is damaged (nucleus {error} has no pixels): segment the image "
                "again."
            ) from error
        # Corners of pixels are whole numbers: a third of the file would be ".0".
        yield nuclei, [text.replace(".0", "") for text in shapely.to_geojson(geometries)]


def _tiles(result: Result) -> Iterator[np.ndarray]:
    height, width = result.shape
    corners = itertools.product(range(0, height, _TIFF_TILE), range(0, width, _TIFF_TILE))
    for y, x in corners:
        tile = np.zeros((_TIFF_TILE, _TIFF_TILE), np.int32)
        rows, columns = min(_TIFF_TILE, height - y), min(_TIFF_TILE, width - x)
        tile[:rows, :columns] = result.read_labels(x, y, columns, rows)
        yield tile


def _scaled_labels(result: Result, size: tuple[int, int]) -> np.ndarray:
    """Return the labels at (width, height), nearest neighbours of the smallest sufficient level."""
    width, height = size
    fine = [i for i, level in enumerate(result.levels) if level.shape[0] >= height]
    level = fine[-1]
    step = 2**level
    full_height, full_width = result.shape
    y = ((np.arange(height) + 0.5) * full_height / height).astype(int) // step
    x = ((np.arange(width) + 0.5) * full_width / width).astype(int) // step
    rows, columns = result.levels[level].shape
    return result.read_labels(0, 0, columns, rows, level)[np.ix_(y, x)]


def _edges(labels: np.ndarray, thickness: int = 2) -> np.ndarray:
    """Return which pixels of nuclei lie within `thickness` of another label."""
    edge = np.zeros(labels.shape, bool)
    for step in range(1, thickness + 1):
        below = labels[step:] != labels[:-step]
        edge[step:] |= below
        edge[:-step] |= below
        beside = labels[:, step:] != labels[:, :-step]
        edge[:, step:] |= beside
        edge[:, :-step] |= beside
    return edge & (labels != 0)
