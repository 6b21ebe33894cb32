"""The nuclei of a run that is going on, as a pyramid that grows tile by tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.inference.seams import paint
from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.measure.runs import LabelRuns
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.slides.tiles import Box

_SMALLEST = 512
"""Side in pixels of the last level, at most."""

_KEPT = 2**26
"""Pixels of the largest level that is an array; of larger ones, what is looked at is painted."""

_RUN = np.dtype([("x", "<u2"), ("y", "<u2"), ("length", "<u2"), ("nucleus", "<u2")])


@dataclass(frozen=True)
class _Part:
    """The runs of a tile in the file.

    Attributes
    ----------
    box : Box
        Around them, in level-0 pixels; they are counted from its corner.
    place, size : int
        Their bytes in the file.
    values : (N,) ndarray of uint16
        What its nuclei are painted with.
    """

    box: Box
    place: int
    size: int
    values: NDArray[np.uint16]


class GrowingLabels:
    """Labels of the nuclei so far; memory does not grow with them.

    A nucleus has the number of its class, from 1 on, plus a multiple of the number of classes, by
    which it differs from its neighbours. Levels are halved as those of a result
    (`results.labels.build_pyramid`). Any thread may add, any other may look.

    Attributes
    ----------
    types : list of str
        The classes, and `UNTYPED`.
    levels : list of array-like
        (H, W) of uint16, largest first.

    Parameters
    ----------
    shape : tuple of 2 int
        Height and width of the image.
    types : sequence of str
        The classes of the model.
    """

    def __init__(self, shape: tuple[int, int], types: Sequence[str]) -> None:
        self.types = [*types, UNTYPED]
        self._count = 0
        self._parts: list[_Part] = []
        self._file = TemporaryFile()  # noqa: SIM115
        self.levels: list[Any] = []
        step = 1
        while not self.levels or max(self.levels[-1].shape) > _SMALLEST:
            size = -(-shape[0] // step), -(-shape[1] // step)
            is_kept = size[0] * size[1] <= _KEPT
            self.levels.append(np.zeros(size, np.uint16) if is_kept else _Level(self, size, step))
            step *= 2

    def add(self, tile: TileNuclei, own: NDArray[np.bool_]) -> Box | None:
        """Add nuclei.

        Parameters
        ----------
        tile : TileNuclei
            The tile.
        own : (N,) ndarray of bool
            Which of its nuclei.

        Returns
        -------
        Box or None
            Around what has changed, in level-0 pixels; None if nothing has.
        """
        if not own.any():
            return None
        runs, values = tile.runs, self._values(tile)
        of_own = own[runs.nucleus]
        x, y, length = runs.x[of_own], runs.y[of_own], runs.length[of_own]
        box = Box(int(x.min()), int(y.min()), int((x + length).max()), int(y.max()) + 1)
        data = np.empty(len(x), _RUN)
        data["x"], data["y"] = x - box.x0, y - box.y0
        data["length"], data["nucleus"] = length, runs.nucleus[of_own]
        place = self._file.seek(0, 2)
        part = _Part(box, place, self._file.write(data.tobytes()), values)
        for power, level in enumerate(self.levels):
            if isinstance(level, np.ndarray):
                _paint(level, 0, 0, data, part, 2**power)
        self._parts.append(part)
        return box

    def painted(self, x0: int, y0: int, width: int, height: int, step: int) -> NDArray[np.uint16]:
        """Return a box of a level, in its pixels, every one of which is `step` of level 0 wide."""
        canvas = np.zeros((height, width), np.uint16)
        box = Box(x0 * step, y0 * step, (x0 + width) * step, (y0 + height) * step)
        for part in self._parts:
            if part.box.meets(box):
                self._file.seek(part.place)
                data = np.frombuffer(self._file.read(part.size), _RUN)
                _paint(canvas, x0, y0, data, part, step)
        return canvas

    def _values(self, tile: TileNuclei) -> NDArray[np.uint16]:
        """Return what the nuclei of a tile are painted with."""
        count = len(self.types)
        number = np.full(len(tile), count)
        if "type" in tile.table:  # else they are classified when all are there
            number = 1 + tile.table["type"].map(self.types.index).to_numpy(int)
        multiple = (self._count + np.arange(len(tile))) % (np.iinfo(np.uint16).max // count)
        self._count += len(tile)
        return (multiple * count + number).astype(np.uint16)


class _Level:
    """A level that is painted where it is read; napari and NumPy take it for an array."""

    dtype = np.dtype(np.uint16)
    ndim = 2

    def __init__(self, labels: GrowingLabels, shape: tuple[int, int], step: int) -> None:
        self.shape = shape
        self._labels = labels
        self._step = step

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[np.uint16]:
        """Return a box."""
        (y0, y1, _), (x0, x1, _) = (
            axis.indices(size) for axis, size in zip(key, self.shape, strict=True)
        )
        return self._labels.painted(x0, y0, max(x1 - x0, 0), max(y1 - y0, 0), self._step)


def _paint(canvas: Any, x0: int, y0: int, data: NDArray, part: _Part, step: int) -> None:
    """Paint every `step`-th pixel of every `step`-th row of a tile's nuclei."""
    y = part.box.y0 + data["y"].astype(int)
    rows = y % step == 0
    data, y = data[rows], y[rows] // step
    x = part.box.x0 + data["x"].astype(int)
    start, stop = -(-x // step), -(-(x + data["length"]) // step)
    runs = LabelRuns(np.arange(len(part.values)), data["nucleus"], start, y, stop - start)
    paint(canvas, x0, y0, runs, part.values)
