"""The result folder `<stem>.nucleus`: labels, table, provenance and edits of one segmentation.

- `labels.zarr`: OME-Zarr 0.5, multiscale, int32 (y, x), 0 = background, chunks of 512;
- `nuclei.parquet`: one row per nucleus;
- `run.json`: image, model and options (`Run`);
- `edits.jsonl`: manual corrections, appended one by one.

The corrected state is read, whether or not the table has been saved since.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.recovery import recover
from napari_nucleus.results.journal.rows import NucleusTable
from napari_nucleus.results.journal.state import State, has_edits, nuclei_schema
from napari_nucleus.results.labels import open_labels, read_box
from napari_nucleus.results.schema import FORMAT, ROW_GROUP, Run, table_schema, with_region
from napari_nucleus.results.swap import put_back
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays


@dataclass(frozen=True)
class Result:
    """A result folder, read as it is needed.

    Attributes
    ----------
    path : Path
        The folder.
    run : Run
        Contents of `run.json`; `types` and `counts` are those of the corrected nuclei.
    levels : tuple[zarr.Array, ...]
        The labels as stored, largest level first; each level takes every second pixel of the one
        above.
    """

    path: Path
    run: Run
    levels: tuple[zarr.Array, ...] = field(repr=False)

    @property
    def mpp(self) -> float | None:
        """µm per level-0 pixel, None if unknown."""
        return self.run["source"]["mpp"]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in level-0 pixels."""
        height, width = self.levels[0].shape
        return height, width

    @property
    def types(self) -> dict[str, str]:
        """Name to colour ``"#rrggbb"`` of every type."""
        return self.run["types"]

    @cached_property
    def labels(self) -> tuple[da.Array, ...]:
        """Lazy (H, W) int32 labels of every level, largest first."""
        # Names of their own: dask derives one from the path, under which napari's cache would
        # still hold the chunks of a result that was replaced.
        return tuple(da.from_zarr(level, name=False) for level in self.levels)

    def read_labels(self, x: int, y: int, width: int, height: int, level: int = 0) -> np.ndarray:
        """Return the labels of a box.

        Parameters
        ----------
        x, y : int
            Upper left corner, in pixels of that level.
        width, height : int
            Size, in pixels of that level.
        level : int
            Index of the level.

        Returns
        -------
        (height, width) ndarray of int32
            0 = background.

        Raises
        ------
        IndexError
            If the box exceeds the image.
        UserError
            If the labels are damaged.
        """
        with _read_errors(self.path):
            return read_box(self.levels[level], x, y, width, height)

    def table(self) -> pd.DataFrame:
        """Return the nuclei, one row each.

        Returns
        -------
        DataFrame
            Columns as `results.schema.table_schema` has them.

        Raises
        ------
        UserError
            If the table is damaged.
        """
        with _read_errors(self.path):
            if has_edits(self.path):
                return self.nuclei().to_pandas()
            with (self.path / "nuclei.parquet").open("rb") as file:
                return with_region(pq.read_table(file)).to_pandas()

    def nuclei(self, columns: Sequence[str] | None = None) -> NucleusTable:
        """Return the nuclei as arrays, one per column, in ascending order of their labels.

        Parameters
        ----------
        columns : sequence of str or None
            Columns to read, `label` and `type` among them, None for all.

        Raises
        ------
        UserError
            If the table is damaged.
        """
        with _read_errors(self.path):
            return State.replay(self.path, self.types, columns).table

    def tables(self, rows: int = ROW_GROUP) -> Iterator[pd.DataFrame]:
        """Yield the nuclei piece by piece.

        Parameters
        ----------
        rows : int
            Most rows of a piece.

        Yields
        ------
        DataFrame
            As `table` returns it; one without rows if there are no nuclei.

        Raises
        ------
        UserError
            If the table is damaged.
        """
        with _read_errors(self.path):
            if has_edits(self.path) or not self.run["counts"]["nuclei"]:
                table = self.nuclei().to_pandas()
                for start in range(0, max(len(table), 1), rows):
                    yield table.iloc[start : start + rows].reset_index(drop=True)
                return
            with (self.path / "nuclei.parquet").open("rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(rows):
                    yield with_region(pa.Table.from_batches([batch])).to_pandas()

    def image_paths(self) -> list[Path]:
        """Return where the image may be: its path, the same path seen from the result, beside it.

        Returns
        -------
        list of Path
            Those that exist, the likeliest first; it may be another image. Empty for a layer
            without a file.
        """
        source = self.run["source"]
        if (path := source["path"]) is None:
            return []
        folder = self.path.parent.resolve()
        name = re.split(r"[\\/]", path)[-1]  # that of a path of Windows, too
        places = [Path(path), folder / (source.get("relative") or name), folder / name]
        return list(dict.fromkeys(place for place in places if os.path.exists(place)))

    def open_image(self, path: str | PathLike[str] | None = None) -> Slide:
        """Open the image that was segmented; its hash is checked.

        Parameters
        ----------
        path : str or path or None
            Where the image is now; None looks for it (`image_paths`).

        Returns
        -------
        Slide
            At the result's µm/px.

        Raises
        ------
        UserError
            If it came from a layer without a file, is missing or is another one.
        """
        source = self.run["source"]["path"]
        if path is not None:
            return self._open_image(Path(path))
        if source is None:
            raise UserError(
                f"{self.path} was made from a layer without a file: save the layer as an image "
                "and segment the file, or give the file that the layer was read from.",
                "image",
            )
        errors = []
        for place in self.image_paths():
            try:
                return self._open_image(place)
            except UserError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        raise UserError(
            f"{self.path} was made from {source}, which is neither there nor beside it: put the "
            "image back there, or give the file.",
            "image",
        )

    def read_image(self, path: str | PathLike[str]) -> Slide:
        """Open a file as the image of the result was opened; it may be another image.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        Slide
            At the result's µm/px, of its scene, with its colours.

        Raises
        ------
        UserError
            If it cannot be opened.
        """
        source = self.run["source"]
        return open_slide(Path(path), self.mpp, source.get("scene"), source.get("srgb", False))

    def _open_image(self, path: Path) -> Slide:
        slide = self.read_image(path)
        if slide.shape == self.shape:
            of_file = self.run["source"]["path"] is not None
            hashed = slide if of_file else slide_from_arrays(slide.levels[:1])
            if hashed.matches(self.run["source"]):
                return slide
        raise UserError(f"{path} is not the image that {self.path} was made from.")


def open_result(path: str | PathLike[str]) -> Result:
    """Open a result folder.

    Parameters
    ----------
    path : str or path
        The folder, ``<stem>.nucleus``.

    Returns
    -------
    Result
        Labels and table in their corrected state, read when needed.

    Raises
    ------
    UserError
        If it is not a result folder, is damaged, or was made by a later version.
    """
    path = Path(path)
    put_back(path)
    if not os.path.isfile(path / "run.json"):  # False without permission, too
        raise UserError(f"{path} is not a result folder: segment an image to make one.")
    with _read_errors(path):
        run = json.loads((path / "run.json").read_text(encoding="utf-8"))
        stored_format = run["format"]
    if stored_format > FORMAT:
        raise UserError(f"{path} was made by a later version: update napari-nucleus.")
    with _read_errors(path):
        if missing := Run.__required_keys__ - run.keys():
            raise ValueError(f"run.json lacks {', '.join(sorted(missing))}")
        levels = open_labels(path / "labels.zarr")
        names = set(nuclei_schema(path).names) | {"region"}
        if missing := set(table_schema(run["source"]["mpp"]).names) - names:
            raise ValueError(f"nuclei.parquet lacks {', '.join(sorted(missing))}")
        if has_edits(path):
            recover(path)
            state = State.replay(path, run["types"], ("label", "type"))
            run |= {"types": state.notes.types, "counts": state.counts()}
    return Result(path, run, levels)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Report a damaged result in one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({error}): segment the image again.") from error
