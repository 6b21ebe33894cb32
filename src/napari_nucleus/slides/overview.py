"""Overview: coarser levels of an image that has none stored, made in one reading and kept."""

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import product
from threading import Lock
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.slides.pixels import read_when_needed

SMALL = 1024
"""Longest side of the coarsest level, so that a view of the whole slide is small; also the side of
a dask chunk."""

# Most pixels of the finest level of an overview, which stays in memory.
_MOST = 2**25

# Pixels up to which a part of the image is extended so that it holds its tiles whole.
_PART = 2**22


class Overview:
    """Coarser levels of an image, each half as large as the one before, the last one small.

    A part of them is made when it is first read, or by `steps`; so every tile of the image is read
    once, however many levels there are and however often they are looked at. They have the means of
    2 × 2 pixels; at an odd edge, of fewer. Threads may read and make at the same time.

    Attributes
    ----------
    factor : int
        Pixels of the image per pixel of the finest level, in a row.
    pixels : int
        Pixels of the image, which are to be read.
    levels : tuple of (H, W, 3) dask.array.Array of uint8
        RGB, largest first, made where they are read.
    shown : tuple of Shown
        The same levels as they are now, black where they are not made yet.

    Parameters
    ----------
    image : (H, W, 3) dask.array.Array of uint8
        RGB.
    """

    def __init__(self, image: da.Array) -> None:
        self._image = image
        height, width = image.shape[:2]
        self.pixels = height * width
        self.factor = 2
        while math.prod(-(-side // self.factor) for side in (height, width)) > _MOST:
            self.factor *= 2
        self._shapes = [_reduced(image.shape, self.factor)]
        while max(self._shapes[-1]) > SMALL:
            self._shapes.append(_reduced(self._shapes[-1], 2))
        coarsest = self.factor * 2 ** (len(self._shapes) - 1)
        columns = _cuts(width, image.chunks[1][0], coarsest, _PART // SMALL)
        rows = _cuts(height, image.chunks[0][0], coarsest, _PART // columns.step)
        self._cuts = rows, columns
        self._parts = list(product(rows, columns))
        self._made: set[tuple[int, int]] = set()
        self._locks = {part: Lock() for part in self._parts}
        self._allocating = Lock()
        self._arrays: list[NDArray[np.uint8]] = []
        self.levels = tuple(
            read_when_needed(partial(self._read, level), shape, (SMALL, SMALL))
            for level, shape in enumerate(self._shapes)
        )
        self.shown = tuple(Shown(self, level, whole) for level, whole in enumerate(self.levels))

    @property
    def is_whole(self) -> bool:
        """Whether all parts are made."""
        return len(self._made) == len(self._parts)

    def steps(self) -> Iterator[float]:
        """Make the parts that are missing from the centre outward, several at a time.

        A part that cannot be decoded stays black.

        Yields
        ------
        float
            Share of the parts that were tried.
        """
        centre = [side / 2 for side in self._image.shape[:2]]
        missing = [part for part in self._parts if part not in self._made]
        missing.sort(key=lambda part: math.dist(part, centre))
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(missing), workers):
                list(pool.map(self._try, missing[start : start + workers]))
                yield min((start + workers) / len(missing), 1)

    def array(self, level: int) -> NDArray[np.uint8]:
        """Return a level as it is now.

        Parameters
        ----------
        level : int
            Index in `levels`.

        Returns
        -------
        (H, W, 3) ndarray of uint8
            Not a copy.
        """
        with self._allocating:  # as most slides are never looked at from afar
            if not self._arrays:
                self._arrays = [np.zeros(shape, np.uint8) for shape in self._shapes]
        return self._arrays[level]

    def _read(self, level: int, rows: range, columns: range) -> NDArray[np.uint8]:
        """Return a part of a level, made where it is missing."""
        scale = self.factor << level
        tops, lefts = (
            cuts[scale * axis.start // cuts.step : -(-scale * axis.stop // cuts.step)]
            for axis, cuts in zip((rows, columns), self._cuts, strict=True)
        )
        for part in product(tops, lefts):
            self._make(part)
        return self.array(level)[rows.start : rows.stop, columns.start : columns.stop]

    def _try(self, part: tuple[int, int]) -> None:
        with suppress(OSError, RuntimeError, ValueError):
            self._make(part)

    def _make(self, part: tuple[int, int]) -> None:
        with self._locks[part]:
            if part in self._made:
                return
            y, x = part
            rows, columns = (cuts.step for cuts in self._cuts)
            pixels = self._image[y : y + rows, x : x + columns]
            image = Image.fromarray(pixels.compute(scheduler="synchronous"))
            for level in range(len(self._shapes)):
                image = image.reduce(2 if level else self.factor)
                top, left = (place // (self.factor << level) for place in part)
                array = self.array(level)
                array[top : top + image.height, left : left + image.width] = np.asarray(image)
            self._made.add(part)


class Shown:
    """A level of an overview as it is now, for a viewer that must not wait.

    Attributes
    ----------
    shape : tuple of 3 int
        Height, width and 3.
    dtype : np.dtype
        8-bit.
    ndim : int
        3.
    size : int
        Values.
    whole : (H, W, 3) dask.array.Array of uint8
        The level, made where it is read.

    Parameters
    ----------
    overview : Overview
        Filled bit by bit.
    level : int
        Index of the level.
    whole : (H, W, 3) dask.array.Array of uint8
        The level, made where it is read.
    """

    def __init__(self, overview: Overview, level: int, whole: da.Array) -> None:
        self._overview, self._level, self.whole = overview, level, whole
        self.shape, self.dtype, self.ndim = whole.shape, whole.dtype, whole.ndim
        self.size = whole.size

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        return self._overview.array(self._level)[index]

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> NDArray[np.uint8]:
        """Return the pixels themselves, as napari keeps what it once has got of the last level."""
        return np.array(self._overview.array(self._level), dtype, copy=copy)


def _reduced(shape: tuple[int, ...], factor: int) -> tuple[int, int, int]:
    return -(-shape[0] // factor), -(-shape[1] // factor), 3


def _cuts(length: int, chunk: int, multiple: int, most: int) -> range:
    """Return where parts begin: at multiples of `multiple` and, if they stay small, of `chunk`."""
    side = math.lcm(chunk, multiple)
    if side > max(most, multiple):
        side = math.ceil(chunk / multiple) * multiple
    return range(0, length, side)
