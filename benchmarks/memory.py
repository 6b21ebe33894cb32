"""Segment an image of 10,000 x 10,000 px and print the most memory that took.

Everything counts: interpreter, libraries, weights. The tissue is scikit-image's picture of colon,
repeated, so that every tile holds nuclei.

    python benchmarks/memory.py --model best.safetensors
"""

import argparse
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from skimage.data import immunohistochemistry

from napari_nucleus.inference import segment_steps
from napari_nucleus.weights.store import DEFAULT_MODEL

TILE = 512
MPP = 0.25  # of a 40x scan, the most usual; the picture itself has about 0.5


def write_image(file: Path, size: int) -> None:
    """Write a tiled TIFF, tile by tile."""
    count = -(-size // TILE)

    def tiles() -> Iterator[np.ndarray]:
        tissue = immunohistochemistry()
        for number in range(count**2):
            yield np.rot90(tissue, number % 4)

    tifffile.imwrite(
        file,
        tiles(),
        shape=(size, size, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
    )


def peak_gigabytes() -> float:
    """Return the largest resident set that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e9 / 1024)


def main() -> None:
    """Print peak memory before, while and after segmenting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--size", type=int, default=10_000)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        image = Path(folder) / "tissue.tif"
        write_image(image, arguments.size)
        print(f"peak after writing the image: {peak_gigabytes():.2f} GB")
        shown = 0.0
        for step in segment_steps(image, Path(folder) / "tissue.nucleus", arguments.model, mpp=MPP):
            if step.done / step.total >= shown:
                print(
                    f"{shown:4.0%}: {step.nuclei:,} nuclei, peak {peak_gigabytes():.2f} GB",
                    flush=True,
                )
                shown += 0.1
    print(f"peak in all: {peak_gigabytes():.2f} GB")


if __name__ == "__main__":
    main()
