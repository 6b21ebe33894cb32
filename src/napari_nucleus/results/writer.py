"""Writer of result folders."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_nucleus.errors import UserError
from napari_nucleus.files import visible_files, write_errors
from napari_nucleus.results.journal.lock import is_locked
from napari_nucleus.results.labels import (
    build_pyramid,
    create_labels,
    read_box,
    write_box,
)
from napari_nucleus.results.reader import Result, open_result
from napari_nucleus.results.schema import FORMAT, ROW_GROUP, Run, table_schema

_NAMES = {"labels.zarr", "nuclei.parquet", "run.json", "edits.jsonl", "edits.lock"}
_FILE_MANAGER_FILES = {"Thumbs.db", "desktop.ini"}  # besides hidden files


class ResultWriter:
    """Write a result folder tile by tile, with memory that does not grow with the image.

    Everything is written to ``<path>.part``, which `finish` renames to `path`. Until then an
    earlier result is unchanged; the next run removes what a killed process has left. As a context
    manager it aborts unless it was finished.

    Parameters
    ----------
    path : str or path
        The result folder, ``<stem>.nucleus``. An earlier result is replaced.
    shape : tuple of 2 int
        Height and width in level-0 pixels.
    mpp : float or None
        µm per level-0 pixel, None if unknown.
    types : mapping of str to str
        Name to colour ``"#rrggbb"`` of every type that the model knows.
    run : mapping of str to Any
        The entries `source` (`path` and `sha256`), `model`, `options` and `device` of `Run`.

    Raises
    ------
    UserError
        If `path` is not a result, has manual corrections, or cannot be written. All methods raise
        it when the disk is full.
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
        """Return the labels of a box that have been written so far.

        Parameters
        ----------
        x, y : int
            Upper left corner, in level-0 pixels.
        width, height : int
            Size, in level-0 pixels.

        Returns
        -------
        (height, width) ndarray of int32
            0 = background.

        Raises
        ------
        IndexError
            If the box exceeds the image.
        """
        return read_box(self._labels, x, y, width, height)

    def write_labels(self, x: int, y: int, labels: np.ndarray) -> None:
        """Write the labels of a box.

        Parameters
        ----------
        x, y : int
            Upper left corner of the box, in level-0 pixels.
        labels : (H, W) ndarray of int
            0 = background.

        Raises
        ------
        IndexError
            If the box exceeds the image.
        """
        with self._aborting():
            write_box(self._labels, x, y, labels)

    def append(self, table: pd.DataFrame) -> None:
        """Add nuclei to the table.

        Parameters
        ----------
        table : DataFrame
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
        if sum(map(len, self._rows)) >= ROW_GROUP:
            self._flush()

    def finish(self, **updates: Any) -> Result:
        """Complete the folder and replace an earlier result by it.

        Parameters
        ----------
        **updates : Any
            Further entries of `Run`, such as `seconds`.

        Returns
        -------
        Result
            The completed result.

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
        """Restore or remove what a process killed within `_swap` has left."""
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
    """Refuse to replace what is not a result, or has manual corrections."""
    if not path.exists():
        return
    allowed = _NAMES | _FILE_MANAGER_FILES
    if not path.is_dir() or {file.name for file in visible_files(path, "*")} - allowed:
        raise UserError(f"{path} contains files that are not of a result: choose another folder.")
    edits = path / "edits.jsonl"
    if edits.exists() and edits.stat().st_size:
        raise UserError(
            f"{path} has manual corrections: choose another folder, or delete this one first."
        )
    if is_locked(path):
        raise UserError(f"{path} is being corrected in another window: close it there first.")
