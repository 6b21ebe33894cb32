"""Nuclei whose class a person has given, of one slide or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.results import Result
from napari_nucleus.results.journal.state import State
from napari_nucleus.results.schema import unescape_formula
from napari_nucleus.teaching.slide_nuclei import SlideNuclei

MINIMUM = 3
"""Examples that every class must have."""

_BLOCK = 100.0
"""Side in µm of the squares whose examples look at the same neighbours."""


@dataclass(frozen=True)
class Examples:
    """Described nuclei and their classes.

    Attributes
    ----------
    described : (E, 3 F) ndarray of float32
        As `SlideNuclei.describe` returns them.
    classes : (E,) ndarray of object
        Names.
    block : (E,) ndarray of object
        Slide and square of each; examples of one square are no independent evidence.
    """

    described: NDArray[np.float32]
    classes: NDArray[np.object_]
    block: NDArray[np.object_]

    @classmethod
    def of(cls, nuclei: SlideNuclei, types: Mapping[int, str]) -> Self:
        """Return the examples of a slide.

        Parameters
        ----------
        nuclei : SlideNuclei
            The slide.
        types : mapping of int to str
            Class by label; nuclei that are gone are left out.
        """
        labels = np.array(sorted(types), np.int64)
        labels = labels[np.isin(labels, nuclei.labels)]
        index = np.searchsorted(nuclei.labels, labels)
        squares = (nuclei.centres[index] // _BLOCK).astype(int)
        return cls(
            nuclei.describe(index),
            np.array([types[label] for label in labels.tolist()], object),
            np.array([f"{nuclei.name} {x} {y}" for x, y in squares], object),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of several slides together.

        Parameters
        ----------
        parts : sequence of Examples
            At least one.
        """
        names = ("described", "classes", "block")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.classes)

    def counts(self) -> dict[str, int]:
        """Return the number of examples of every class."""
        names, counts = np.unique(self.classes.astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def check(self) -> None:
        """Make sure that there is something to learn.

        Raises
        ------
        UserError
            If there are fewer than two classes, or too few examples of one.
        """
        counts = self.counts()
        if not counts:
            raise UserError(f"There are no examples: give {MINIMUM} nuclei or more of each class.")
        if len(counts) == 1:
            raise UserError(
                f"All examples are of the class {next(iter(counts))}: give examples of others, too."
            )
        if few := [f"{name} ({count})" for name, count in counts.items() if count < MINIMUM]:
            raise UserError(
                f"Too few examples of {', '.join(few)}: give {MINIMUM} or more of each class."
            )


def corrected_types(result: Result) -> dict[int, str]:
    """Return the types that a person has set in a result, by label.

    Parameters
    ----------
    result : Result
        The result.
    """
    state = State.replay(result.path, result.types, ("label", "type"))
    labels = np.array(sorted(state.notes.examples), np.int64)
    labels = labels[state.table.known(labels)]
    types = state.table.rows(labels, ("type",))["type"]
    return dict(zip(labels.tolist(), types.tolist(), strict=True))


def read_examples(path: Path, results: Sequence[Result]) -> dict[Path, dict[int, str]]:
    """Read examples from a CSV file, such as a table that was exported and filled in.

    Parameters
    ----------
    path : Path
        With the columns `label` and `type`, and `result`, the name of the result folder or its
        stem, where there are several. Rows without a type are left out.
    results : sequence of Result
        The results.

    Returns
    -------
    dict
        Class by label, by result.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or names a nucleus or a result that there is
        not.
    """
    try:
        table = pd.read_csv(path, dtype={"type": str, "result": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{path} cannot be read ({error}): give a CSV file.", "examples") from error
    needed = ["label", "type", *(["result"] if len(results) > 1 else [])]
    if missing := [name for name in needed if name not in table]:
        raise UserError(f"{path} has no column {missing[0]}: add it.", "examples")
    table = table[table["type"].notna()]
    by_name = {name: each for each in results for name in (each.path.name, each.path.stem)}
    if "result" not in table:
        table = table.assign(result=results[0].path.name)
    examples: dict[Path, dict[int, str]] = {each.path: {} for each in results}
    for name, rows in table.groupby("result"):
        if name not in by_name:
            raise UserError(f"{path} has examples of {name}: give this result, too.", "examples")
        result = by_name[str(name)]
        known = result.nuclei(("label", "type")).known(rows["label"].to_numpy())
        if not known.all():
            label = rows["label"][~known].iloc[0]
            raise UserError(f"{result.path} has no nucleus {label}: mend {path}.", "examples")
        types = map(unescape_formula, rows["type"])
        examples[result.path] = dict(zip(rows["label"].tolist(), types, strict=True))
    return examples
