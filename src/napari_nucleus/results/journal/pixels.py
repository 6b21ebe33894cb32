"""Which pixels of the labels an edit changed, from what to what."""

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import zarr

from napari_nucleus.results.labels import holds_runs, write_runs
from napari_nucleus.slides.tiles import Box


@dataclass(frozen=True, eq=False)
class PixelChange:
    """Runs of pixels along rows that had one label and got another.

    They name single pixels, not a box: what else lies there is never touched, and many nuclei far
    apart take no more room than many close by.

    Attributes
    ----------
    y, x, length : (N,) ndarray of int32
        Row, first column and length of every run, in level-0 pixels.
    before, after : (N,) ndarray of int32
        Labels, 0 = background.
    """

    y: np.ndarray
    x: np.ndarray
    length: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray, x: int, y: int) -> Self:
        """Return what differs between two (H, W) label images with their first pixel at (x, y).

        Parameters
        ----------
        before, after : (H, W) ndarray of int
            Labels, 0 = background.
        x, y : int
            Their first pixel on level 0.
        """
        changed = before != after
        goes_on = changed[:, 1:] & changed[:, :-1]
        goes_on &= (before[:, 1:] == before[:, :-1]) & (after[:, 1:] == after[:, :-1])
        first, last = changed.copy(), changed.copy()
        first[:, 1:] &= ~goes_on
        last[:, :-1] &= ~goes_on
        rows, starts = np.nonzero(first)
        length = np.nonzero(last)[1] + 1 - starts
        runs = rows + y, starts + x, length, before[rows, starts], after[rows, starts]
        return cls(*(values.astype(np.int32) for values in runs))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Return changes of different pixels as one.

        Parameters
        ----------
        parts : iterable of PixelChange
            Changes of different pixels.
        """
        empty = cls(*[np.zeros(0, np.int32)] * 5)
        return cls(
            *map(np.concatenate, zip(*(part._runs for part in (empty, *parts)), strict=True))
        )

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.y)

    @property
    def box(self) -> Box:
        """The smallest box around all changed pixels, of which there must be some."""
        return Box(
            int(self.x.min()),
            int(self.y.min()),
            int((self.x + self.length).max()),
            int(self.y.max()) + 1,
        )

    def inverse(self) -> Self:
        """Return the change that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    def is_in(self, levels: Sequence[zarr.Array]) -> bool:
        """Tell whether the labels after the change are what all levels of a pyramid hold.

        Parameters
        ----------
        levels : sequence of zarr.Array
            The labels, largest level first; each has half the height and width of the one
            before.
        """
        return all(
            holds_runs(level, *runs)
            for level, runs in zip(levels, self._by_level(len(levels)), strict=True)
        )

    def write(self, levels: Sequence[zarr.Array]) -> None:
        """Write the labels after the change into all levels of a pyramid; twice does no harm.

        Parameters
        ----------
        levels : sequence of zarr.Array
            The labels, largest level first; each has half the height and width of the one
            before.
        """
        for level, runs in zip(levels, self._by_level(len(levels)), strict=True):
            write_runs(level, *runs)

    def draw(self, labels: np.ndarray, x: int, y: int) -> None:
        """Change an (H, W) label image in place, with its first pixel at (x, y).

        Parameters
        ----------
        labels : (H, W) ndarray of int
            0 = background; pixels that change outside of it are left out.
        x, y : int
            Their first pixel on level 0.
        """
        rows, columns, after = self._pixels()
        rows, columns = rows - y, columns - x
        height, width = labels.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        labels[rows[inside], columns[inside]] = after[inside]

    def encode(self) -> str:
        """Return everything as text, without loss."""
        # Rows and columns grow by little from run to run: their steps are what compresses well.
        steps = np.diff(np.stack(self._runs), axis=1, prepend=np.int32(0))
        return base64.b64encode(zlib.compress(steps.astype("<i4").tobytes())).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return what `encode` has written.

        Parameters
        ----------
        text : str
            Base64 of zlib-compressed runs.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            data = zlib.decompress(base64.b64decode(text, validate=True))
        except zlib.error as error:
            raise ValueError(f"invalid runs of pixels: {error}") from error
        steps = np.frombuffer(data, "<i4").reshape(5, -1)
        return cls(*np.cumsum(steps, axis=1, dtype=np.int32))

    @property
    def _runs(self) -> tuple[np.ndarray, ...]:
        return self.y, self.x, self.length, self.before, self.after

    def _pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, column and label after the change of every pixel."""
        run = np.repeat(np.arange(len(self)), self.length)
        begin = np.cumsum(self.length) - self.length
        return self.y[run], self.x[run] + np.arange(len(run)) - begin[run], self.after[run]

    def _by_level(self, count: int) -> Iterable[tuple[np.ndarray, ...]]:
        """Return row, column, length and label of the runs on every level.

        Each level keeps every second pixel of the one above.
        """
        for step in (2**level for level in range(count)):
            start, stop = -(-self.x // step), -(-(self.x + self.length) // step)
            kept = (self.y % step == 0) & (stop > start)
            yield self.y[kept] // step, start[kept], (stop - start)[kept], self.after[kept]
