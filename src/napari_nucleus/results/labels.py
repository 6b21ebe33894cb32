"""Label pyramids on disk (OME-Zarr 0.5), read and written by boxes."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec

CHUNK = 512
# Lower levels are built in blocks of this side: 64 MB at a time, however large the slide.
_BLOCK = 4096


def create_labels(path: Path, shape: tuple[int, int]) -> zarr.Array:
    """Create a pyramid; chunks without nuclei take no space.

    Parameters
    ----------
    path : Path
        Folder to create.
    shape : tuple of 2 int
        Height and width of the largest level.

    Returns
    -------
    zarr.Array
        The largest level, (H, W) int32, filled with 0 (background).
    """
    return _create_level(zarr.create_group(path, zarr_format=3), 0, shape)


def build_pyramid(path: Path, name: str, mpp: float | None) -> None:
    """Add the lower levels and the OME-Zarr metadata.

    Every second pixel is kept from level to level, the first one included: the first pixels of
    all levels have the same centre, so that a scale alone places them.

    Parameters
    ----------
    path : Path
        Folder created by `create_labels`.
    name : str
        Name of the image.
    mpp : float or None
        µm per pixel of the largest level, None if unknown.
    """
    group = zarr.open_group(path)
    upper = _level(group, "0")
    count = 1
    while max(upper.shape) > CHUNK:
        height, width = (-(-size // 2) for size in upper.shape)
        lower = _create_level(group, count, (height, width))
        for y in range(0, height, _BLOCK // 2):
            for x in range(0, width, _BLOCK // 2):
                block = np.asarray(upper[2 * y : 2 * y + _BLOCK, 2 * x : 2 * x + _BLOCK])
                block = block[::2, ::2]
                write_box(lower, x, y, block)
        upper = lower
        count += 1
    group.attrs["ome"] = _ome_metadata(name, count, mpp)


def open_labels(path: Path, writable: bool = False) -> tuple[zarr.Array, ...]:
    """Return the levels of a complete pyramid, largest first.

    Parameters
    ----------
    path : Path
        Folder created by `create_labels` and completed by `build_pyramid`.
    writable : bool
        Whether they may be written to.

    Returns
    -------
    tuple of zarr.Array
        Levels (H, W), int32.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        If it does not exist or is damaged.
    """
    group = zarr.open_group(path, mode="r+" if writable else "r")
    ome = cast(dict[str, Any], group.attrs["ome"])
    (multiscale,) = ome["multiscales"]
    return tuple(_level(group, dataset["path"]) for dataset in multiscale["datasets"])


def read_box(level: zarr.Array, x: int, y: int, width: int, height: int) -> np.ndarray:
    """Return the labels of a box.

    Parameters
    ----------
    level : zarr.Array
        Level of the pyramid, (H, W).
    x, y : int
        Upper left corner, in pixels of that level.
    width, height : int
        Size, in pixels of that level.

    Returns
    -------
    (height, width) ndarray of int32
        0 = background.

    Raises
    ------
    IndexError
        If the box exceeds the image.
    """
    _check_box(level, x, y, width, height)
    return np.asarray(level[y : y + height, x : x + width])


def write_box(level: zarr.Array, x: int, y: int, labels: np.ndarray) -> None:
    """Write the labels of a box, chunk by chunk.

    Of several chunks at once, zarr would continue to write in other threads after the first has
    failed, and recreate a folder that is being removed.

    Parameters
    ----------
    level : zarr.Array
        Level of the pyramid, (H, W).
    x, y : int
        Upper left corner of the box, in pixels of that level.
    labels : (H, W) ndarray of int
        Labels of the box, 0 = background.

    Raises
    ------
    IndexError
        If the box exceeds the image.
    """
    height, width = labels.shape
    _check_box(level, x, y, width, height)
    for top, bottom in pairwise(_cuts(y, height)):
        for left, right in pairwise(_cuts(x, width)):
            piece = labels[top - y : bottom - y, left - x : right - x]
            level[top:bottom, left:right] = piece.astype(np.int32, copy=False)


def read_pixels(level: zarr.Array, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the labels of single pixels; only the chunks that contain them are read.

    Parameters
    ----------
    level : zarr.Array
        Level of the pyramid, (H, W).
    y, x : (N,) ndarray of int
        Rows and columns of the pixels.

    Returns
    -------
    (N,) ndarray of int32
        0 = background.
    """
    labels = np.zeros(len(y), np.int32)
    for chunk, part in _by_chunk(level, y, x):
        labels[part] = np.asarray(level[chunk])[y[part] - chunk[0].start, x[part] - chunk[1].start]
    return labels


def write_runs(
    level: zarr.Array, y: np.ndarray, x: np.ndarray, length: np.ndarray, labels: np.ndarray
) -> None:
    """Write runs of pixels along rows; only chunks that change are written.

    Parameters
    ----------
    level : zarr.Array
        Level of the pyramid, (H, W).
    y, x, length : (N,) ndarray of int
        Row, first column and length of the runs.
    labels : (N,) ndarray of int
        Their labels.
    """
    for chunk, pixels, run in _pixels_by_chunk(level, y, x, length):
        block = np.array(level[chunk])
        if (block[pixels] != labels[run]).any():
            block[pixels] = labels[run]
            level[chunk] = block


def holds_runs(
    level: zarr.Array, y: np.ndarray, x: np.ndarray, length: np.ndarray, labels: np.ndarray
) -> bool:
    """Tell whether `write_runs` would change nothing.

    Parameters
    ----------
    level : zarr.Array
        Level of the pyramid, (H, W).
    y, x, length : (N,) ndarray of int
        Row, first column and length of the runs.
    labels : (N,) ndarray of int
        Their labels.
    """
    return all(
        np.array_equal(np.asarray(level[chunk])[pixels], labels[run])
        for chunk, pixels, run in _pixels_by_chunk(level, y, x, length)
    )


def _pixels_by_chunk(
    level: zarr.Array, y: np.ndarray, x: np.ndarray, length: np.ndarray
) -> Iterator[tuple[tuple[slice, slice], tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """Yield every chunk that runs touch, its pixels (rows, columns) and the run of each pixel."""
    first, last = x // CHUNK, (x + length - 1) // CHUNK
    run, piece = _counted(last - first + 1)
    left = (first[run] + piece) * CHUNK
    start, stop = np.maximum(x[run], left), np.minimum((x + length)[run], left + CHUNK)
    for chunk, part in _by_chunk(level, y[run], start):
        place, offset = _counted(stop[part] - start[part])
        place = part[place]
        rows, columns = y[run[place]] - chunk[0].start, start[place] + offset - chunk[1].start
        yield chunk, (rows, columns), run[place]


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every index as often as its count says, and the numbers 0, 1, … along each."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - (np.cumsum(counts) - counts)[index]


def _by_chunk(
    level: zarr.Array, y: np.ndarray, x: np.ndarray
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Yield every chunk that holds some of the pixels, and which ones."""
    if not len(y):
        return
    rows, columns = level.shape
    chunk = y // CHUNK * -(-columns // CHUNK) + x // CHUNK
    order = np.argsort(chunk, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(chunk[order])) + 1):
        top, left = (int(axis[part[0]]) // CHUNK * CHUNK for axis in (y, x))
        yield (
            (slice(top, min(top + CHUNK, rows)), slice(left, min(left + CHUNK, columns))),
            part,
        )


def _cuts(start: int, length: int) -> list[int]:
    """Return where to cut a stretch of pixels at the borders of chunks, with both its ends."""
    stop = start + length
    return [start, *range((start // CHUNK + 1) * CHUNK, stop, CHUNK), stop]


def _check_box(level: zarr.Array, x: int, y: int, width: int, height: int) -> None:
    rows, columns = level.shape
    if x < 0 or y < 0 or y + height > rows or x + width > columns:
        raise IndexError(f"box {(x, y, width, height)} exceeds an image of {columns} x {rows} px")


def _create_level(group: zarr.Group, number: int, shape: tuple[int, int]) -> zarr.Array:
    return group.create_array(
        str(number),
        shape=shape,
        dtype="int32",
        chunks=(CHUNK, CHUNK),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        dimension_names=("y", "x"),
        fill_value=0,
    )


def _level(group: zarr.Group, name: str) -> zarr.Array:
    level = group[name]
    if not isinstance(level, zarr.Array) or level.ndim != 2:
        raise ValueError(f"labels.zarr/{name} is not an image")
    return level


def _ome_metadata(name: str, count: int, mpp: float | None) -> dict[str, Any]:
    unit = {} if mpp is None else {"unit": "micrometer"}
    scales = [(mpp or 1.0) * 2**number for number in range(count)]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [{"type": "scale", "scale": [scale, scale]}],
        }
        for number, scale in enumerate(scales)
    ]
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}],
        "image-label": {},
    }
