"""The result folder `<stem>.nucleus`: labels, table, provenance and edits of one segmentation.

- `labels.zarr`: OME-Zarr 0.5, multiscale, int32 (y, x), 0 = background, chunks of 512;
- `nuclei.parquet`: one row per nucleus;
- `run.json`: what was segmented, by which model, how (`Run`);
- `edits.jsonl`: corrections by hand, appended one by one.

What is read here is the corrected state, whether or not the table has been saved since.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr

from napari_nucleus.edits.lock import is_locked
from napari_nucleus.edits.recovery import recover
from napari_nucleus.edits.state import State, has_edits
from napari_nucleus.errors import UserError
from napari_nucleus.files import write_errors
from napari_nucleus.label_store import (
    build_pyramid,
    create_labels,
    open_labels,
    read_box,
    write_box,
)
from napari_nucleus.result_format import FORMAT, Run, table_schema
from napari_nucleus.slides import Slide, open_slide

# A tile has hundreds of nuclei; row groups that small would make a large and slow file.
_ROW_GROUP = 50_000
_NAMES = {"labels.zarr", "nuclei.parquet", "run.json", "edits.jsonl", "edits.lock"}
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # left behind by file managers


@dataclass(frozen=True)
class Result:
    """A result folder, read as it is needed.

    Attributes
    ----------
    path
        The folder.
    run
        Contents of `run.json`; `types` and `counts` are those of the corrected nuclei.
    levels
        The labels as stored, largest level first; each level takes every second pixel of the one
        above.
    """

    path: Path
    run: Run
    levels: tuple[zarr.Array, ...] = field(repr=False)

    @property
    def mpp(self) -> float | None:
        """µm per level-0 pixel, None where not known."""
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
        """Return (height, width) int32 labels of a box in that level's pixels.

        Raises
        ------
        IndexError
            If the box leaves the image.
        UserError
            If the labels are damaged.
        """
        with _read_errors(self.path):
            return read_box(self.levels[level], x, y, width, height)

    def table(self) -> pd.DataFrame:
        """Return the nuclei, one row each (see `ResultWriter.append` for the columns)."""
        with _read_errors(self.path):
            return self._nuclei().to_pandas()

    def tables(self, rows: int = _ROW_GROUP) -> Iterator[pd.DataFrame]:
        """Yield the nuclei in pieces of at most so many rows."""
        with _read_errors(self.path):
            if has_edits(self.path):
                batches = self._nuclei().to_batches(rows)
                yield from (batch.to_pandas() for batch in batches)
                return
            with pq.ParquetFile(self.path / "nuclei.parquet") as file:
                for batch in file.iter_batches(rows):
                    yield batch.to_pandas()

    def _nuclei(self) -> pa.Table:
        if has_edits(self.path):
            return State.replay(self.path, self.types).table.arrow()
        return pq.read_table(self.path / "nuclei.parquet")

    def open_image(self) -> Slide:
        """Open the image that was segmented; all of the file is read once, to know it again.

        Raises
        ------
        UserError
            If it came from a layer without a file, has moved or is another one.
        """
        path = self.run["source"]["path"]
        if path is None:
            raise UserError(
                f"{self.path} was made from a layer without a file: save the layer as an image "
                "and segment that."
            )
        try:
            slide = open_slide(path, mpp=self.mpp)
        except UserError as error:
            raise UserError(
                f"{self.path} was made from {path}, which cannot be opened any more ({error}): "
                "put the image back there."
            ) from error
        if slide.shape != self.shape or slide.digest() != self.run["source"]["sha256"]:
            raise UserError(f"{path} is not the image that {self.path} was made from.")
        return slide


def open_result(path: str | PathLike[str]) -> Result:
    """Open a result folder.

    Raises
    ------
    UserError
        If there is none, it is damaged, or it was made by a later version.
    """
    path = Path(path)
    if not (path / "run.json").is_file():
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
        schema = pq.read_schema(path / "nuclei.parquet")
        if missing := set(table_schema(run["source"]["mpp"]).names) - set(schema.names):
            raise ValueError(f"nuclei.parquet lacks {', '.join(sorted(missing))}")
        if has_edits(path):
            recover(path)
            state = State.replay(path, run["types"])
            run |= {"types": state.notes.types, "counts": state.counts()}
    return Result(path, run, levels)


class ResultWriter:
    """Write a result folder tile by tile, with memory that does not grow with the image.

    Everything goes into ``<path>.part``, which takes the place of `path` in `finish`. Until then
    an earlier result stays as it was; what a killed process has left is replaced by the next run.
    As a context manager it aborts unless it was finished.

    Parameters
    ----------
    path
        The result folder, ``<stem>.nucleus``. An earlier result is replaced.
    shape
        Height and width in level-0 pixels.
    mpp
        µm per level-0 pixel, None where not known.
    types
        Name to colour ``"#rrggbb"`` of every type that the model knows.
    run
        The entries `source` (`path` and `sha256`), `model`, `options` and `device` of `Run`.

    Raises
    ------
    UserError
        If `path` is something else than a result, or a result corrected by hand, or cannot be
        written. All methods raise it when the disk is full.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        shape: tuple[int, int],
        mpp: float | None,
        types: Mapping[str, str],
        run: Mapping[str, Any],
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._old = self.path.with_name(self.path.name + ".old")
        self._mpp = mpp
        self._run: dict[str, Any] = {
            "format": FORMAT,
            "version": version("napari-nucleus"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **run,
            "source": {**run["source"], "width": shape[1], "height": shape[0], "mpp": mpp},
            "types": dict(types),
        }
        self._counts = Counter(dict.fromkeys(("nuclei", *types), 0))
        self._schema = table_schema(mpp)
        self._rows: list[pa.Table] = []
        with write_errors(self.path):
            self._clear_the_way()
            self._part.mkdir(parents=True)
        self._leftovers = ExitStack()
        self._leftovers.callback(shutil.rmtree, self._part, ignore_errors=True)
        with self._aborting():
            self._labels = create_labels(self._part / "labels.zarr", shape)
            table = pq.ParquetWriter(self._part / "nuclei.parquet", self._schema)
            self._table = self._leftovers.enter_context(table)

    def read_labels(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return (height, width) int32 labels written so far in a box of level-0 pixels.

        Raises
        ------
        IndexError
            If the box leaves the image.
        """
        return read_box(self._labels, x, y, width, height)

    def write_labels(self, x: int, y: int, labels: np.ndarray) -> None:
        """Write (H, W) labels with their first pixel at (x, y) in level-0 pixels.

        Raises
        ------
        IndexError
            If they leave the image.
        """
        with self._aborting():
            write_box(self._labels, x, y, labels)

    def append(self, table: pd.DataFrame) -> None:
        """Add nuclei to the table.

        Parameters
        ----------
        table
            Columns `label`, `type`, `type_prob`, those of `measure`, in any order, and `edited`
            (False where left out).

        Raises
        ------
        ValueError
            If columns are missing or too many, or a type is unknown.
        """
        table = table if "edited" in table else table.assign(edited=False)
        if set(table) != set(self._schema.names):
            raise ValueError(f"columns are {list(table)}, expected {self._schema.names}")
        if unknown := set(table["type"]) - self._run["types"].keys():
            raise ValueError(f"unknown types {sorted(unknown)}")
        self._counts["nuclei"] += len(table)
        self._counts.update(table["type"])
        self._rows.append(pa.Table.from_pandas(table, self._schema, preserve_index=False))
        if sum(map(len, self._rows)) >= _ROW_GROUP:
            self._flush()

    def finish(self, **updates: Any) -> Result:
        """Complete the folder and put it in place of an earlier result.

        Parameters
        ----------
        **updates
            Entries of `Run` that are known only now, such as `seconds`.

        Raises
        ------
        ValueError
            If entries of `Run` are missing.
        """
        run = {**self._run, **updates, "counts": dict(self._counts)}
        if missing := Run.__required_keys__ - run.keys():
            raise ValueError(f"the run lacks {', '.join(sorted(missing))}")
        with self._aborting():
            self._flush()
            self._table.close()
            build_pyramid(self._part / "labels.zarr", self.path.stem, self._mpp)
            text = json.dumps(run, indent=2, ensure_ascii=False, allow_nan=False)
            (self._part / "run.json").write_text(text + "\n", encoding="utf-8")
            (self._part / "edits.jsonl").touch()
            _refuse_to_replace(self.path)
            self._swap()
        self._leftovers.pop_all()
        return open_result(self.path)

    def abort(self) -> None:
        """Remove everything written so far; without effect once finished."""
        with suppress(OSError):  # the table goes away, whether its end could be written or not
            self._leftovers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.abort()

    @contextmanager
    def _aborting(self) -> Iterator[None]:
        """Leave nothing behind when writing fails."""
        try:
            with write_errors(self.path):
                yield
        except BaseException:
            self.abort()
            raise

    def _clear_the_way(self) -> None:
        """Bring back what a process killed within `_swap` has moved away, drop what it left."""
        if self._old.exists() and not self.path.exists():
            self._old.rename(self.path)
        for folder in (self.path, self._part, self._old):
            _refuse_to_replace(folder)
        for folder in (self._part, self._old):
            if folder.exists():
                shutil.rmtree(folder)

    def _swap(self) -> None:
        if self.path.exists():
            self.path.rename(self._old)
        try:
            self._part.rename(self.path)
        except OSError:
            if self._old.exists():
                self._old.rename(self.path)
            raise
        shutil.rmtree(self._old, ignore_errors=True)

    def _flush(self) -> None:
        if self._rows:
            with self._aborting():
                self._table.write_table(pa.concat_tables(self._rows))
            self._rows.clear()


def _refuse_to_replace(path: Path) -> None:
    """Stand up for folders that are not ours and for corrections by hand."""
    if not path.exists():
        return
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - _NAMES - _LITTER:
        raise UserError(f"{path} holds other files than a result: choose another folder.")
    edits = path / "edits.jsonl"
    if edits.exists() and edits.stat().st_size:
        raise UserError(
            f"{path} has corrections by hand: choose another folder, or remove this one first."
        )
    if is_locked(path):
        raise UserError(f"{path} is being corrected in a window: close it there first.")


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Tell the user when a result cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({error}): segment the image again.") from error
