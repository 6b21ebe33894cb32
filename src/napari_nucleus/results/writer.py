"""Writer of result folders."""

import json
import os
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
from napari_nucleus.files import portable_name, write_errors
from napari_nucleus.results.labels import (
    build_pyramid,
    create_labels,
    write_box,
)
from napari_nucleus.results.outputs import enclosing_result
from napari_nucleus.results.reader import Result, open_result
from napari_nucleus.results.schema import FORMAT, ROW_GROUP, Run, table_schema
from napari_nucleus.results.swap import Swap

_DEFAULTS: dict[str, Any] = {"edited": False, "region": ""}
"""Columns that need not be given."""


class ResultWriter:
    """Write a result folder tile by tile, with memory that does not grow with the image.

    Everything is written to a folder beside `path`, which `finish` renames to it. Until then an
    earlier result is unchanged; the next run removes what a killed process has left. As a context
    manager it aborts unless it was finished.

    Attributes
    ----------
    path : Path
        The result folder.
    target : Path
        Where it is: `path`, or where that leads if it is a link.

    Parameters
    ----------
    path : str or path
        The result folder, ``<stem>.nucleus``. An earlier result of the same image is replaced.
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
        If `path` is not a result or lies in one, is of another image, has manual corrections, is
        being written by another run, or cannot be written. All methods raise it when the disk is
        full.
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
        if (parent := enclosing_result(self.path.parent)) is not None:
            raise UserError(f"{parent} is a result itself: choose another folder.")
        self._mpp = mpp
        self._run: dict[str, Any] = {
            "format": FORMAT,
            "version": version("napari-nucleus"),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **run,
            "source": {
                **run["source"],
                "relative": _relative(run["source"]["path"], self.path),
                "width": shape[1],
                "height": shape[0],
                "mpp": mpp,
            },
            "types": dict(types),
        }
        self._counts = Counter(dict.fromkeys(("nuclei", *types), 0))
        self._schema = table_schema(mpp)
        self._rows: list[pa.Table] = []
        self._swap = Swap(self.path, run["source"])
        self.target = self._swap.target
        self._leftovers = ExitStack()
        self._leftovers.callback(self._swap.close)
        part = self._swap.part
        with self._aborting():
            self._labels = create_labels(part / "labels.zarr", shape)
            file = self._leftovers.enter_context((part / "nuclei.parquet").open("wb"))
            self._table = self._leftovers.enter_context(pq.ParquetWriter(file, self._schema))
            self._table_file = file

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
            Columns `label`, `type`, `type_prob`, those of `measure`, in any order, and, if not
            False and empty, `edited` and `region`.

        Raises
        ------
        ValueError
            If columns are missing or too many, or a type is unknown.
        """
        left_out = {name: value for name, value in _DEFAULTS.items() if name not in table}
        table = table.assign(**left_out)
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
            self._table_file.close()
            part = self._swap.part
            build_pyramid(part / "labels.zarr", portable_name(self.path.stem), self._mpp)
            text = json.dumps(run, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            # names in bytes that are not UTF-8 become \udc80 and so on, as JSON has them
            (part / "run.json").write_text(text, encoding="utf-8", errors="backslashreplace")
            (part / "edits.jsonl").touch()
            self._swap.finish()
        self.abort()  # of which there is nothing left but the lock
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

    def _flush(self) -> None:
        if self._rows:
            with self._aborting():
                self._table.write_table(pa.concat_tables(self._rows))
            self._rows.clear()


def _relative(source: str | None, path: Path) -> str | None:
    """Return the path of an image seen from the folder of its result."""
    if source is None:
        return None
    try:
        return Path(os.path.relpath(source, os.path.realpath(path.parent))).as_posix()
    except ValueError:  # another drive
        return None
