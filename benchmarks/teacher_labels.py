"""Label images with InstanSeg's public model, as a dataset folder that our weights learn from.

    python -m benchmarks.teacher_labels IMAGE... --instanseg instanseg.pt --out DIR [--mpp 0.25]

Run in the checkout. `benchmarks/peers.py` says what InstanSeg is; the licence of its weights
(Apache-2.0) allows it. Leaves ``images/`` and ``labels/`` in DIR.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from rich.progress import track

from benchmarks.peers import InstanSeg
from napari_nucleus.slides import open_slide


def main() -> None:
    """Read the command line, and label image by image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--instanseg", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mpp", type=float, default=0.25, help="where a file tells none")
    arguments = parser.parse_args()
    teacher = InstanSeg(arguments.instanseg)
    for part in ("images", "labels"):
        (arguments.out / part).mkdir(parents=True, exist_ok=True)
    for file in track(arguments.images, "Labelling"):
        slide = open_slide(file)
        height, width = slide.shape
        image = slide.read(0, 0, width, height)
        labels = teacher(image, slide.mpp or arguments.mpp)
        Image.fromarray(image).save(arguments.out / "images" / f"{file.stem}.png")
        tifffile.imwrite(
            arguments.out / "labels" / f"{file.stem}.tif",
            labels.astype(np.int32),
            compression="zlib",
        )


if __name__ == "__main__":
    main()
