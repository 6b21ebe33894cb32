"""A result folder whose nuclei are squares, its image, and all that a session knows of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from napari_nucleus.edits.session import EditSession
from napari_nucleus.measure import measure
from napari_nucleus.results import Result, ResultWriter, open_result
from napari_nucleus.slides import Slide, slide_from_arrays

TYPES = {"inflammatory": "#3cb44b", "spindle": "#ffb000", "other": "#ff0000"}
MPP = 0.5
RUN = {
    "source": {"path": None, "sha256": ""},
    "model": {"name": "tiny", "sha256": "cd", "mpp": 0.5, "types": list(TYPES)},
    "options": {},
    "device": "cpu",
}


def squares(height: int, width: int, side: int = 10, pitch: int = 16) -> np.ndarray:
    """Nuclei of `side` x `side` px, `pitch` apart, the first at (3, 3), numbered row by row."""
    rows, columns = -(-height // pitch), -(-width // pitch)
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    square = np.zeros((pitch, pitch), int)
    square[3 : 3 + side, 3 : 3 + side] = 1
    labels = np.kron(numbers, square)[:height, :width]
    _, compact = np.unique(labels, return_inverse=True)
    return compact.reshape(labels.shape).astype(np.int32)


def picture(height: int, width: int, mpp: float | None = MPP) -> Slide:
    """An image on which every place looks different."""
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)
    return slide_from_arrays([pixels], mpp, "picture")


def write_result(
    path: Path, labels: np.ndarray, mpp: float | None = MPP, type_prob: float = 0.75
) -> Result:
    """Write a result as `segment` does; every third nucleus is of another type."""
    height, width = labels.shape
    slide = picture(height, width, mpp)
    run = {**RUN, "source": {"path": None, "sha256": slide.digest()}}
    with ResultWriter(path, labels.shape, mpp, TYPES, run) as writer:
        writer.write_labels(0, 0, labels)
        table = measure(labels, slide.read(0, 0, width, height), mpp)
        names = np.array(list(TYPES))[table["label"] % 3]
        writer.append(table.assign(type=names, type_prob=type_prob))
        return writer.finish(seconds={})


def open_session(path: Path) -> EditSession:
    """Open a result of `write_result` for correction."""
    result = open_result(path)
    return EditSession(path, picture(*result.shape, result.mpp))


class Snapshot(NamedTuple):
    """All that a session knows."""

    labels: np.ndarray
    table: pd.DataFrame
    types: list[tuple[str, str]]
    reviewed: list[tuple[int, int, int, int]]
    checked: set[int]
    examples: set[int]
    undo: str
    redo: str


def snapshot(session: EditSession) -> Snapshot:
    """Return what there is now."""
    height, width = session.shape
    return Snapshot(
        session.read_labels(0, 0, width, height),
        session.table(),
        list(session.types.items()),
        session.reviewed,
        session.checked,
        session.examples,
        session.can_undo,
        session.can_redo,
    )


def check_same(one: Snapshot, other: Snapshot) -> None:
    """Hold two snapshots together, bit for bit."""
    np.testing.assert_array_equal(one.labels, other.labels)
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    assert one[2:] == other[2:]
