"""What all corrections come to: the table, the types, what is reviewed and checked."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_nucleus.files import replacing
from napari_nucleus.results.journal.edit import Edit, Region
from napari_nucleus.results.journal.history import History
from napari_nucleus.results.journal.journal import Journal
from napari_nucleus.results.journal.rows import NucleusTable
from napari_nucleus.results.schema import with_region

_KEY = b"napari_nucleus"


@dataclass
class Notes:
    """What is known about the nuclei beside their pixels and rows.

    Attributes
    ----------
    types : dict of str to str
        Name to colour ``"#rrggbb"``, in the order of the classes.
    reviewed : list of Region
        Regions in which every nucleus has been seen.
    checked : set of int
        Labels accepted as they are.
    examples : set of int
        Labels whose type a person has set; classes are taught on these. Some may be gone.
    next_label : int
        Higher than any that was ever given.
    saved : int
        Number of the journal's last line that is in `nuclei.parquet`.
    """

    types: dict[str, str]
    reviewed: list[Region] = field(default_factory=list)
    checked: set[int] = field(default_factory=set)
    examples: set[int] = field(default_factory=set)
    next_label: int = 1
    saved: int = 0

    @classmethod
    def read(cls, folder: Path, types: dict[str, str]) -> Self:
        """Return what was saved with the table; `types` are those of `run.json`.

        Parameters
        ----------
        folder : Path
            The result folder.
        types : dict of str to str
            Name to colour ``"#rrggbb"`` of the types in `run.json`.
        """
        metadata = nuclei_schema(folder).metadata or {}
        if _KEY not in metadata:
            return cls(dict(types))
        stored = json.loads(metadata[_KEY])
        regions = [tuple(region) for region in stored.pop("reviewed")]
        examples = set(stored.pop("examples", ()))
        checked = set(stored.pop("checked"))
        return cls(reviewed=regions, checked=checked, examples=examples, **stored)

    def apply(self, edit: Edit) -> None:
        """Go on by one edit.

        Parameters
        ----------
        edit : Edit
            The next edit.
        """
        if edit.types is not None:
            self.types = dict(edit.types.after)
        if edit.reviewed is not None:
            self.reviewed = list(edit.reviewed.after)
        for noted, change in ((self.checked, edit.checked), (self.examples, edit.examples)):
            if change is not None:
                noted.difference_update(change.before)
                noted.update(change.after)
        if edit.rows is not None and len(labels := edit.rows.after["label"]):
            self.next_label = max(self.next_label, int(labels.max()) + 1)

    def to_json(self) -> dict[str, Any]:
        """Return what `read` reads."""
        return {**vars(self), "checked": sorted(self.checked), "examples": sorted(self.examples)}


class State:
    """A result as it is after all corrections, but for the pixels of its labels.

    `nuclei.parquet` has it as it was when it was saved, the journal all that came after.

    Attributes
    ----------
    table, notes
        The two parts.

    Parameters
    ----------
    folder : Path
        The result folder.
    types : dict of str to str
        Name to colour of the types in `run.json`.
    columns : sequence of str or None
        Columns of the table to read, `label` and `type` among them; None for all, without which it
        cannot be saved.
    """

    def __init__(
        self, folder: Path, types: dict[str, str], columns: Sequence[str] | None = None
    ) -> None:
        self._folder = folder
        self.notes = Notes.read(folder, types)
        self.table = NucleusTable(read_nuclei(folder, columns))
        pa.default_memory_pool().release_unused()  # as much again, kept for the next file
        self.notes.next_label = max(
            self.notes.next_label, int(self.table.labels.max(initial=0)) + 1
        )
        self._counts = Counter(
            pd.Series(self.table.columns["type"], dtype=object).value_counts().to_dict()
        )

    @classmethod
    def replay(
        cls, folder: Path, types: dict[str, str], columns: Sequence[str] | None = None
    ) -> Self:
        """Return the state after the last line of the journal.

        Parameters
        ----------
        folder : Path
            The result folder.
        types : dict of str to str
            Name to colour ``"#rrggbb"`` of the types in `run.json`.
        columns : sequence of str or None
            As `State`.

        Raises
        ------
        UserError
            If the journal is damaged.
        """
        # The table first: a line that is saved in between is then left out, not missed.
        state = cls(folder, types, columns)
        for edit in History(Journal(folder), state.notes.saved).since_saved():
            state.apply(edit)
        return state

    def apply(self, edit: Edit) -> None:
        """Go on by one edit; twice does no harm.

        Parameters
        ----------
        edit : Edit
            The next edit.
        """
        self.notes.apply(edit)
        touched = edit.labels
        self._counts.subtract(Counter(self._types_of(touched)))  # which counts in C
        if edit.rows is not None:
            self.table.replace(*edit.rows)
        if edit.retyped is not None:
            self.table.retype(edit.retyped)
        self._counts.update(self._types_of(touched))
        if edit.renamed is not None:
            self.table.rename_type(*edit.renamed)
            self._counts[edit.renamed.after] = self._counts.pop(edit.renamed.before, 0)

    def counts(self) -> dict[str, int]:
        """Return the number of all nuclei, as `nuclei`, and of every type."""
        of_types = {name: self._counts[name] for name in self.notes.types}
        return {"nuclei": len(self.table), **of_types}

    def _types_of(self, labels: np.ndarray) -> list[str]:
        """Return the types of those of some nuclei that there are."""
        known = labels[self.table.known(labels)]
        return self.table.rows(known, ("type",))["type"].tolist()

    def save(self, line: int) -> None:
        """Write `nuclei.parquet`.

        Parameters
        ----------
        line : int
            Number of the last line of the journal that is in this state.

        Raises
        ------
        UserError
            If the disk is full or the file cannot be written; it is as it was then.
        """
        stored = {_KEY: json.dumps({**self.notes.to_json(), "saved": line})}
        path = self._folder / "nuclei.parquet"
        with replacing(path) as part, part.open("wb") as file:
            table = self.table.arrow().replace_schema_metadata(stored)
            # Of measurements, which are all different, a dictionary takes as long as all else.
            pq.write_table(table, file, use_dictionary=["type", "region"])
            file.flush()
            os.fsync(file.fileno())  # the journal's lines until here count as done from now on
        self.notes.saved = line


def has_edits(folder: Path) -> bool:
    """Tell whether a result was corrected by hand.

    Parameters
    ----------
    folder : Path
        The result folder.
    """
    journal = folder / "edits.jsonl"
    if journal.exists() and journal.stat().st_size:
        return True
    return _KEY in (nuclei_schema(folder).metadata or {})


def nuclei_schema(folder: Path) -> pa.Schema:
    """Return the columns of `nuclei.parquet`, with what was saved beside them.

    Parameters
    ----------
    folder : Path
        The result folder.
    """
    # opened here: pyarrow itself takes no name that is not UTF-8
    with (folder / "nuclei.parquet").open("rb") as file:
        return pq.read_schema(file)


def read_nuclei(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return `nuclei.parquet`, names as dictionaries: a million nuclei have a handful of types.

    Parameters
    ----------
    folder : Path
        The result folder.
    columns : sequence of str or None
        Columns to read, None for all.
    """
    with (folder / "nuclei.parquet").open("rb") as file:
        names = [name for name in ("type", "region") if name in pq.read_schema(file).names]
        table = pq.ParquetFile(file, read_dictionary=names).read(columns)
    return with_region(table) if columns is None else table
