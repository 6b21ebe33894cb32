"""One correction, complete in itself: everything that it changed, from what to what."""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np

from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.journal.retyped import Retyped
from napari_nucleus.results.journal.rows import Rows, distinct, rows_from_json, rows_to_json

T = TypeVar("T")

Region = tuple[int, int, int, int]
"""A box (x0, y0, x1, y1) of level-0 pixels, half open."""


class Change(NamedTuple, Generic[T]):
    """What something was before, and is after."""

    before: T
    after: T

    def inverse(self) -> "Change[T]":
        """Return the change that takes this one back."""
        return Change(self.after, self.before)


@dataclass(frozen=True, eq=False)
class Edit:
    """A correction.

    Attributes
    ----------
    name : str
        What was done, for the menu: "split".
    pixels : PixelChange or None
        Pixels of the labels.
    rows : Change[Rows] | None
        Rows of the table: nuclei only in `before` go, those only in `after` come, those in both
        have the columns that differ.
    types : Change[dict of str to str] | None
        All types, name to colour ``"#rrggbb"``, in their order.
    renamed : Change[str] | None
        Name of one type, which its nuclei follow.
    reviewed : Change[list of Region] | None
        All regions in which every nucleus has been seen.
    checked : Change[list of int] | None
        Labels accepted as they are: `before` no longer, `after` from now on.
    examples : Change[list of int] | None
        Labels whose type a person has set: `before` no longer, `after` from now on.
    retyped : Retyped or None
        Types that a classifier gave.
    """

    name: str
    pixels: PixelChange | None = None
    rows: Change[Rows] | None = None
    types: Change[dict[str, str]] | None = None
    renamed: Change[str] | None = None
    reviewed: Change[list[Region]] | None = None
    checked: Change[list[int]] | None = None
    examples: Change[list[int]] | None = None
    retyped: Retyped | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,) of nuclei whose rows come, go or change, ascending, each once."""
        parts = [] if self.rows is None else [rows["label"] for rows in self.rows]
        if self.retyped is not None:
            parts.append(self.retyped.labels)
        return distinct(np.concatenate([np.zeros(0, np.int64), *parts]))

    def inverse(self) -> "Edit":
        """Return the edit that takes this one back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changes: dict[str, Any] = {
            name: value.inverse()
            for name, value in values.items()
            if isinstance(value, Change | PixelChange | Retyped)
        }
        return replace(self, **changes)

    def to_json(self) -> list[dict[str, Any]]:
        """Return its lines in the journal: pixels, where there are any, and the rest."""
        line: dict[str, Any] = {
            "edit": self.name,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.rows is not None:
            line["rows"] = [rows_to_json(rows) for rows in self.rows]
        if self.retyped is not None:
            line["retyped"] = self.retyped.to_json()
        for name in ("types", "renamed", "reviewed", "checked", "examples"):
            if (change := getattr(self, name)) is not None:
                line[name] = list(change)
        return [line] if self.pixels is None else [{"pixels": self.pixels.encode()}, line]

    @classmethod
    def from_json(cls, line: dict[str, Any], pixels: str | None) -> Self:
        """Return the edit of a line, and of the pixels before it.

        Parameters
        ----------
        line : dict of str to Any
            A line of the journal that names an edit.
        pixels : str or None
            What the line before it holds, if that is of pixels.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are damaged.
        """
        changes: dict[str, Any] = {
            name: Change(*line[name])
            for name in ("types", "renamed", "checked", "examples")
            if name in line
        }
        if "retyped" in line:
            changes["retyped"] = Retyped.from_json(line["retyped"])
        if "rows" in line:
            changes["rows"] = Change(*map(rows_from_json, line["rows"]))
        if "reviewed" in line:
            changes["reviewed"] = Change(*([tuple(r) for r in rs] for rs in line["reviewed"]))
        if pixels is not None:
            changes["pixels"] = PixelChange.decode(pixels)
        return cls(line["edit"], **changes)
