"""Segment slides of several sizes and print memory, time and what it was spent on.

    python benchmarks/memory.py [SIDE...] [--model NAME]

Without a model, a threshold takes the place of the network, so that the rest is measured. Memory is
the largest resident set, of which interpreter and libraries take most. The slides are 0.25 µm/px,
with islands of tissue, scikit-image's picture of colon, on glass: the same share at every size.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zlib import compress

import numpy as np
import tifffile

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel

SQUARE = 512
SHRUNK = 32
PERIOD, ISLAND = 10, 4  # squares in a row


def write_slide(file: Path, side: int) -> None:
    """Write a pyramidal TIFF, every square of it compressed once."""
    from skimage.data import immunohistochemistry

    tissue = immunohistochemistry()
    glass = np.full_like(tissue, 245)
    count = -(-side // SQUARE)
    is_tissue = np.arange(count) % PERIOD < ISLAND
    turns = np.add.outer(np.arange(count), 2 * np.arange(count)) % 4
    kinds = np.where(np.logical_and.outer(is_tissue, is_tissue), 1 + turns, 0)
    squares = [glass, *(np.ascontiguousarray(np.rot90(tissue, turn)) for turn in range(4))]
    encoded = [compress(square.tobytes(), 1) for square in squares]
    size = SQUARE // SHRUNK
    small = [
        square.reshape(size, SHRUNK, size, SHRUNK, 3).mean((1, 3)).astype(np.uint8)
        for square in squares
    ]
    shrunk = np.concatenate([np.concatenate([small[kind] for kind in row], 1) for row in kinds])
    shrunk = shrunk[: side // SHRUNK, : side // SHRUNK]

    def tiles() -> Iterator[bytes]:
        yield from (encoded[kind] for kind in kinds.ravel())

    options: dict[str, Any] = {
        "photometric": "rgb",
        "compression": "zlib",
        "tile": (SQUARE, SQUARE),
        "resolution": (40_000, 40_000),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(file, bigtiff=True) as tif:
        tif.write(tiles(), shape=(side, side, 3), dtype=np.uint8, subifds=1, **options)
        tif.write(np.ascontiguousarray(shrunk), subfiletype=1, **options)


def threshold_network() -> "NucleusModel":
    """Return a network that takes what is dark for nuclei."""
    import cv2
    import pandas as pd
    import torch
    from torch import Tensor, nn

    from napari_nucleus.instances import HOVER
    from napari_nucleus.models import NucleusModel
    from napari_nucleus.nucleus_types import UNTYPED

    class Threshold(NucleusModel):
        postprocessing = HOVER

        def __init__(self) -> None:
            super().__init__((), {})
            self.name, self.mpp = "threshold", 0.4
            self.weight = nn.Parameter(torch.zeros(1))

        def encode(self, images: Tensor) -> list[Tensor]:
            return [images]

        def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
            return {"np": features[0][:, 0], "features": features[0][:, :, ::4, ::4]}

        def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"np": 1 - logits["np"], "features": logits["features"].half()}

        def find(
            self, maps: dict[str, np.ndarray], threshold: float | None = None
        ) -> tuple[np.ndarray, pd.DataFrame]:
            dark = cv2.blur(maps["np"].astype(np.float32), (3, 3)) > 0.43
            _, labels, boxes, centres = cv2.connectedComponentsWithStats(dark.astype(np.uint8))
            area = boxes[:, cv2.CC_STAT_AREA]
            kept = (area >= 15) & (area < 2000)
            kept[0] = False
            labels = np.where(kept, np.cumsum(kept), 0)[labels].astype(np.int32)
            table = pd.DataFrame({"label": np.arange(1, kept.sum() + 1)})
            table["centroid_x"], table["centroid_y"] = centres[kept].T
            return labels, table.assign(type=UNTYPED, type_prob=np.float32(1))

    return Threshold()


def peak_gigabytes() -> float:
    """Return the largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def measure(image: Path, model: str) -> None:
    """Segment, and print what it took as JSON; in a process of its own."""
    from napari_nucleus.inference import segment

    network: str | NucleusModel = model or threshold_network()
    started, processor = time.perf_counter(), time.process_time()
    result = segment(image, image.with_suffix(".nucleus"), network, device="cpu")
    took = {
        "nuclei": result.run["counts"]["nuclei"],
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "peak": peak_gigabytes(),
        "stages": {k: v for k, v in result.run["seconds"].items() if k != "total"},
    }
    print(json.dumps(took))


def main() -> None:
    """Print a row for every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", nargs="*", type=int, default=[10_000, 20_000, 40_000])
    parser.add_argument("--model", default="")
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.image:
        measure(arguments.image, arguments.model)
        return
    print("  side   nuclei  seconds  processor s  s per Gpx  peak GB  shares of the work")
    for side in arguments.sides:
        with TemporaryDirectory() as folder:
            image = Path(folder) / "slide.tif"
            write_slide(image, side)
            command = [sys.executable, __file__, "--image", image, "--model", arguments.model]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            took = json.loads(answer.stdout)
        work = sum(took["stages"].values())
        shares = ", ".join(f"{name} {value / work:.0%}" for name, value in took["stages"].items())
        print(
            f"{side:6} {took['nuclei']:8,} {took['seconds']:8.1f} {took['processor']:12.1f} "
            f"{took['processor'] / (side / 1e3) ** 2 * 1e3:10.0f} {took['peak']:8.2f}  {shares}",
            flush=True,
        )


if __name__ == "__main__":
    main()
