"""Time segmentation from image file to result folder, table and labels written.

    python benchmarks/throughput.py IMAGE... [--mpp 0.25] [--model NAME] [--threads 2]

The first image is done twice and its first time left out, since it also warms the libraries up.
Megapixels are those of the image, so they compare only between images of one µm/px.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from napari_nucleus.inference import segment
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.slides import open_slide
from napari_nucleus.weights.store import DEFAULT_MODEL


def main() -> None:
    """Segment every image named on the command line and print megapixels per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_checkpoint(options.model)
    megapixels = seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate([options.images[0], *options.images]):
            start = time.perf_counter()
            result = segment(
                image, Path(folder) / f"{number}.nucleus", model, mpp=options.mpp, device="cpu"
            )
            took = time.perf_counter() - start
            height, width = open_slide(image).shape
            size = height * width / 1e6
            nuclei = result.run["counts"]["nuclei"]
            note = "  (warming up)" if number == 0 else ""
            print(f"{image.name:40} {size:7.2f} MP {nuclei:7} nuclei {took:7.2f} s{note}")
            if number:
                megapixels, seconds = megapixels + size, seconds + took
    rate = megapixels / seconds
    print(f"{options.threads} threads: {rate:.2f} megapixels per second from file to result folder")


if __name__ == "__main__":
    main()
