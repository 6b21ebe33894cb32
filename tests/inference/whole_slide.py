"""A slide of 20,000 x 20,000 px, a quick network for it, and a process that segments it.

    python -m tests.inference.whole_slide IMAGE RESULT

The process may take 768 MB besides its libraries: less than the slide's pixels, or its labels.
RLIMIT_DATA counts what it has for itself and may write to; RLIMIT_AS would also count libraries,
files and address space that PyTorch and malloc reserve and never touch.
"""

import re
import resource
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import tifffile

from napari_nucleus.inference import segment_steps
from tests.tissue import Moody, tiled, tissue

SIDE = 20_000
ISLANDS = (3, 2, 1, 2), (18, 21, 1, 1), (38, 38, 1, 1)
"""Tissue: row, column, height and width in squares of 512 px."""

_SQUARE = 512
_SHRUNK = 16
_ROOM = 768 << 20


class Quick(Moody):
    """Takes everything connected for a nucleus."""

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        mask = (maps["np"] > 0.5).astype(np.uint8)
        count, labels, _, centres = cv2.connectedComponentsWithStats(mask, connectivity=4)
        numbers, first = np.unique(labels, return_index=True)
        kinds = maps["tp"].ravel()[first[numbers > 0]] - 1
        table = pd.DataFrame({"label": np.arange(1, count)})
        table["centroid_x"], table["centroid_y"] = centres[1:].T
        table["type"] = np.array(self.types, dtype=object)[kinds.astype(int)]
        table["type_prob"] = np.float32(1)
        return labels.astype(np.int32), table


def network() -> Quick:
    """Return a network with tiles of 256 px."""
    return tiled(Quick(), 256, 32)


def write_slide(file: Path) -> None:
    """Write a pyramidal OME-TIFF; equal squares are compressed once."""
    glass = np.full((_SQUARE, _SQUARE, 3), 255, np.uint8)
    squares = [glass, *(tissue(_SQUARE, _SQUARE, seed, 2e-3).coded() for seed in range(4))]
    count = -(-SIDE // _SQUARE)
    kinds = np.zeros((count, count), int)
    for row, column, height, width in ISLANDS:
        y, x = np.mgrid[row : min(row + height, count), column : min(column + width, count)]
        kinds[y, x] = 1 + (y + 2 * x) % 4
    encoded = [_encoded(square) for square in squares]
    small = [cv2.resize(square, None, fx=1 / _SHRUNK, fy=1 / _SHRUNK) for square in squares]
    shrunk = np.concatenate(
        [np.concatenate([small[kind] for kind in row], axis=1) for row in kinds]
    )
    shrunk = np.ascontiguousarray(shrunk[: SIDE // _SHRUNK, : SIDE // _SHRUNK])

    def tiles() -> Iterator[bytes]:
        yield from (encoded[kind] for kind in kinds.ravel())

    options: dict[str, Any] = {
        "photometric": "rgb",
        "compression": "zlib",
        "tile": (_SQUARE, _SQUARE),
    }
    with tifffile.TiffWriter(file, ome=True, bigtiff=True) as tif:
        pixels = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        pixels |= {"PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
        tif.write(
            tiles(),
            shape=(SIDE, SIDE, 3),
            dtype=np.uint8,
            subifds=2,
            metadata=pixels,
            **options,
        )
        tif.write(shrunk, subfiletype=1, **options)
        tif.write(np.ascontiguousarray(shrunk[::2, ::2]), subfiletype=1, **options)


def _encoded(square: np.ndarray) -> bytes:
    return zlib.compress(square.tobytes(), 1)


def _limit_memory() -> None:
    status = Path("/proc/self/status").read_text()
    (used,) = re.findall(r"VmData:\s+(\d+) kB", status)
    limit = int(used) * 1024 + _ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        np.empty(3 * SIDE**2, np.uint8)
    except MemoryError:
        return
    raise AssertionError("the limit does not count")


def main() -> None:
    """Segment, and print progress."""
    image, out = map(Path, sys.argv[1:])
    _limit_memory()
    for step in segment_steps(image, out, network(), device="cpu"):
        print(step.done, step.total, step.kept, step.joined, flush=True)


if __name__ == "__main__":
    main()
