"""Score and time our weights and InstanSeg's public model on the same images, in one run.

    python benchmarks/peers.py DATASET... --instanseg instanseg.pt [--part test] [--mpp 0.25]
        [--model NAME] [--threads 2] [--json F.json]

InstanSeg (Goldsborough et al., arXiv:2408.15954): the TorchScript file ``instanseg.pt`` of its
model brightfield_nuclei 0.1.1, from its publishers (Apache-2.0). TorchScript runs code of its
own, so take no other's file; its SHA-256 is printed. It was trained on TNBC, NuInsSeg and CoNSeP
among others: where it has seen the images, its scores say little.

Both get the same images and are scored at their full resolution, with 95 % intervals by bootstrap
over images, that of the difference paired by image. Both compute on the CPU with as many threads.
Ours is timed from the image to the result folder, which holds labels, measurements and table;
InstanSeg from the image to the label map. They take turns, image by image. Each segments one
twice before the clock starts, since TorchScript compiles itself in the second run.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table

from napari_nucleus.datasets import Sample, Source, load_source
from napari_nucleus.files import sha256
from napari_nucleus.inference import segment
from napari_nucleus.metrics import mean, score_pair
from napari_nucleus.metrics.bootstrap import bootstrap_ci
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.weights.store import DEFAULT_MODEL

Segment = Callable[[np.ndarray, float], np.ndarray]
Scores = dict[str, list[dict[str, float]]]


class InstanSeg:
    """InstanSeg's brightfield model.

    Parameters
    ----------
    file
        TorchScript.
    """

    MPP = 0.5
    PERCENTILES = (0.1, 99.9)
    STRIDE = 32

    def __init__(self, file: Path) -> None:
        self.network = torch.jit.load(file, map_location="cpu").eval()

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, mpp: float) -> np.ndarray:
        """Return the labels, int32 (H, W), of an image, uint8 (H, W, 3), of so many µm/px."""
        height, width = image.shape[:2]
        scale = mpp / self.MPP
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        small = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        pixels = np.asarray(small, np.float32)
        low, high = np.percentile(pixels, self.PERCENTILES, axis=(0, 1)).astype(np.float32)
        pixels = (pixels - low) / np.maximum(high - low, 1e-3)
        images = torch.from_numpy(pixels).movedim(-1, 0)[None]
        padding = (0, -size[0] % self.STRIDE, 0, -size[1] % self.STRIDE)
        found = self.network(F.pad(images, padding, mode="replicate"))
        labels = found[0, 0, : size[1], : size[0]].numpy().astype(np.int32)
        full = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(full)


class Ours:
    """A model of ours, on the road that `segment` takes.

    Parameters
    ----------
    network
        With its weights.
    folder
        Where the result folders are written for the moment.
    """

    def __init__(self, network: NucleusModel, folder: Path) -> None:
        self.network = network
        self.folder = folder

    def __call__(self, image: np.ndarray, mpp: float) -> np.ndarray:
        """Return the labels, int32 (H, W), of an image, uint8 (H, W, 3), of so many µm/px."""
        slide = slide_from_arrays([image], mpp)
        with TemporaryDirectory(dir=self.folder) as out:
            result = segment(slide, Path(out) / "one.nucleus", self.network, device="cpu")
            height, width = result.shape
            return result.read_labels(0, 0, width, height)


def run(sides: dict[str, Segment], samples: Sequence[Sample]) -> tuple[Scores, dict[str, float]]:
    """Return each side's scores of every sample, and its megapixels per second."""
    scores: Scores = {name: [] for name in sides}
    seconds = dict.fromkeys(sides, 0.0)
    for find in sides.values():
        find(samples[0].image, samples[0].mpp)
        find(samples[0].image, samples[0].mpp)
    for sample in samples:
        for name, find in sides.items():
            start = time.perf_counter()
            labels = find(sample.image, sample.mpp)
            seconds[name] += time.perf_counter() - start
            scores[name].append(score_pair(sample.labels, labels))
    megapixels = sum(sample.labels.size for sample in samples) / 1e6
    return scores, {name: megapixels / took for name, took in seconds.items()}


def compare(scores: Scores) -> dict[str, dict[str, Any]]:
    """Return for every score both means and that of the difference, each with its interval."""
    found = {}
    for key in scores["ours"][0]:
        ours, theirs = (
            np.array([image[key] for image in scores[name]]) for name in ("ours", "instanseg")
        )
        found[key] = {
            name: {"mean": mean(values), "ci95": list(bootstrap_ci(values))}
            for name, values in (
                ("ours", ours),
                ("instanseg", theirs),
                ("difference", ours - theirs),
            )
        }
    return found


def show(name: str, found: dict[str, Any]) -> Table:
    """Return a dataset's table."""
    speed = found["megapixels_per_second"]
    table = Table("", "ours", "InstanSeg", "difference", title=f"{name}, {found['images']} images")
    for key, sides in found["scores"].items():
        cells = (
            "{:.3f} ({:.3f} to {:.3f})".format(of["mean"], *of["ci95"]) for of in sides.values()
        )
        table.add_row(key, *cells)
    table.add_row("megapixels/s", f"{speed['ours']:.2f}", f"{speed['instanseg']:.2f}")
    return table


def main() -> None:
    """Compare on every dataset named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--instanseg", type=Path, required=True, help="TorchScript file")
    parser.add_argument("--part", action="append", default=[], help="of the official split")
    parser.add_argument("--mpp", type=float, help="µm per pixel, where the dataset does not tell")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file to write everything to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, peer = load_checkpoint(options.model), InstanSeg(options.instanseg)
    about: dict[str, Any] = {
        "threads": options.threads,
        "ours": {"model": str(options.model), "sha256": network.sha256},
        "instanseg": {"file": options.instanseg.name, "sha256": sha256(options.instanseg)},
        "datasets": {},
    }
    console = Console()
    for side in ("ours", "instanseg"):
        console.print(f"{side}: SHA-256 {about[side]['sha256']}", soft_wrap=True)
    console.print(f"{options.threads} threads; differences are ours less InstanSeg's")
    for path in options.datasets:
        source = Source(path=path, mpp=options.mpp, parts=tuple(options.part))
        samples = load_source(source)
        with TemporaryDirectory() as folder:
            sides: dict[str, Segment] = {"ours": Ours(network, Path(folder)), "instanseg": peer}
            scores, speed = run(sides, samples)
        found = {
            "images": len(samples),
            "scores": compare(scores),
            "megapixels_per_second": speed,
        }
        about["datasets"][path.name] = found
        console.print(show(path.name, found))
    if options.json:
        options.json.write_text(json.dumps(about, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
