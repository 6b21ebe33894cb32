"""Correct a part of annotated images, retrain, and score the rest before and after.

    python benchmarks/retraining.py quarter DATASET NAME... [--other DATASET]
    python benchmarks/retraining.py tiles DATASET [NAME...] [--other DATASET]

DATASET is a folder that the package reads. "Corrected" is what its annotation says of that part.

quarter: for each image by itself, its upper left quarter is corrected, and the other three are
scored. tiles: ten tiles of 256 px are corrected, as many as fit into the corners of each image, and
the halves of the images without tiles are scored.

--other scores other tissue before and after, too, which shows what was forgotten.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch
from PIL import Image

from napari_nucleus.datasets import Sample, Source, load_source
from napari_nucleus.datasets.sample import resample
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.validation import validate
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.retraining import EPOCHS, Retraining
from napari_nucleus.retraining.comparison import overall
from napari_nucleus.retraining.loop import retrain
from napari_nucleus.weights.store import DEFAULT_MODEL

SIDE, TILES = 256, 10

Part = tuple[slice, slice]


def crop(sample: Sample, part: Part) -> Sample:
    """Return a part of an annotated image."""
    labels = sample.labels[part]
    ids, compact = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
    return replace(
        sample,
        name=f"{sample.name}_x{part[1].start}_y{part[0].start}",
        image=np.ascontiguousarray(sample.image[part]),
        labels=compact[:-1].reshape(labels.shape).astype(np.int32),
        types=sample.types[ids],
        doubtful=sample.doubtful[ids],
        ignored=None if sample.ignored is None else sample.ignored[part],
    )


def quarter(sample: Sample) -> tuple[list[Part], list[Part]]:
    """Return the part that is corrected and those that are scored."""
    height, width = sample.labels.shape
    top, left = slice(0, height // 2), slice(0, width // 2)
    bottom, right = slice(height // 2, height), slice(width // 2, width)
    return [(top, left)], [(top, right), (bottom, left), (bottom, right)]


def corners(sample: Sample) -> tuple[list[Part], list[Part]]:
    """Return tiles on the diagonal, one where they would meet, and the halves without any."""
    height, width = sample.labels.shape
    first = [(slice(0, SIDE), slice(0, SIDE))]
    last = [(slice(height - SIDE, height), slice(width - SIDE, width))]
    _, (right, bottom, opposite) = quarter(sample)
    if min(height, width) < 3 * SIDE:
        return first, [right, bottom, opposite]
    return first + last, [right, bottom]


def write(samples: Sequence[Sample], types: Sequence[str], folder: Path) -> Path:
    """Write a dataset folder."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    names = np.array(["", *types], object)
    for sample in samples:
        dots = 25400 / sample.mpp  # per inch
        file = folder / "images" / f"{sample.name}.png"
        Image.fromarray(sample.image).save(file, dpi=(dots, dots))
        tifffile.imwrite(folder / "labels" / f"{sample.name}.tif", sample.labels.astype(np.uint16))
        typed = np.flatnonzero((sample.types > 0) & (sample.types != UNKNOWN))
        if len(typed):
            table = pd.DataFrame({"label": typed, "type": names[sample.types[typed]]})
            table.to_csv(folder / "labels" / f"{sample.name}.csv", index=False)
    return folder


def score(model: str | Path, samples: Sequence[Sample]) -> dict[str, float]:
    """Score a model on annotated images."""
    network = load_checkpoint(model)
    return overall(validate(network, [resample(sample, network.mpp) for sample in samples]))


def experiment(
    name: str,
    corrected: list[Sample],
    rest: list[Sample],
    other: list[Sample],
    options: argparse.Namespace,
    types: Sequence[str],
) -> tuple[float, float]:
    """Retrain, print the scores before and after, and return the panoptic qualities."""
    with tempfile.TemporaryDirectory() as folder:
        data = write(corrected, types, Path(folder) / "corrected")
        job = Retraining(
            data=(data,), model=options.model, train=options.train, epochs=options.epochs
        )
        wall, cpu = time.perf_counter(), time.process_time()
        made = retrain(job, Path(folder) / "run")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        count = sum(len(sample.types) - 1 for sample in corrected)
        print(f"{name}: {count} nuclei corrected; {wall:.0f} s, {cpu:.0f} s of processor time")
        _print("validation regions", made.before, made.after)
        before, after = score(options.model, rest), score(made.checkpoint, rest)
        _print("the rest", before, after)
        if other:
            _print("other tissue", score(options.model, other), score(made.checkpoint, other))
        print(f"  agreement with the original model: {made.agreement:.3f}", flush=True)
    return before["pq"], after["pq"]


def _print(what: str, before: dict[str, float], after: dict[str, float]) -> None:
    scores = (f"{key} {before[key]:.3f} → {after[key]:.3f}" for key in before if key in after)
    print(f"  {what}: {', '.join(scores)}")


def main() -> None:
    """Read the command line, and do the experiments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["quarter", "tiles"])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--other", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--train", default="decoder", choices=["types", "decoder", "all"])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    types = load_checkpoint(options.model).types
    images = read(options.dataset, types, options.names)
    other = read(options.other, types)[::8] if options.other else []
    if options.what == "quarter":
        found = []
        for image in images:
            corrected, rest = ([crop(image, p) for p in parts] for parts in quarter(image))
            try:
                found.append(experiment(image.name, corrected, rest, other, options, types))
            except UserError as error:  # too few nuclei in that quarter
                print(f"{image.name}: {error}")
        before, after = np.mean(found, axis=0)
        print(f"{len(found)} images: PQ of the other three quarters {before:.3f} → {after:.3f}")
        return
    corrected, rest = [], []
    for image in images:
        if len(corrected) == TILES:
            break
        tiles, halves = corners(image)
        corrected += [crop(image, part) for part in tiles]
        rest += [crop(image, part) for part in halves]
    experiment(options.dataset.name, corrected, rest, other, options, types)


def read(dataset: Path, types: Sequence[str], names: Sequence[str] = ()) -> list[Sample]:
    """Read the named images of a dataset, or all."""
    samples = load_source(Source(path=dataset), types)
    return [sample for sample in samples if not names or sample.name in names]


if __name__ == "__main__":
    main()
