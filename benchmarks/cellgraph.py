"""Time the cell graph of a slide: neighbours, sentences, text encoder, classifier.

The nuclei lie as densely as in lymphoid tissue and come tile by tile, as segmentation finds them;
the text encoder is that of CLIP ViT-B/16, with random weights. Visual features are there already,
in a file.

    PYTHONPATH=. python benchmarks/cellgraph.py --nuclei 100000
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.memory import peak_gigabytes
from napari_nucleus.models.msanet.clip import UNTRAINED, load_clip
from napari_nucleus.models.msanet.graph import (
    SHAPE_COLUMNS,
    GraphClassifier,
    SentenceBank,
    neighbour_edges,
    sentences,
    type_nuclei,
)

MPP = 0.25
PATCH = 270
TILE = 640
SPACING = 40  # px from nucleus to nucleus: 10,000 in a square millimetre


def nuclei(count: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return centroids (N, 2), tile by tile, and features (N, 256 + 3) in a file."""
    random = np.random.default_rng(0)
    centroids = random.uniform(0, SPACING * np.sqrt(count), (count, 2))
    column, row = (centroids // TILE).T
    centroids = centroids[np.lexsort((column, row))]
    features = np.memmap(
        folder / "features", np.float16, "w+", shape=(count, 256 + len(SHAPE_COLUMNS))
    )
    for start in range(0, count, 10_000):
        part = features[start : start + 10_000]
        part[:, :256] = random.normal(size=(len(part), 256))
        part[:, 256] = random.normal(32, 8, len(part)).clip(4)
        part[:, 257:] = random.uniform(0.4, 1, (len(part), 2))
    features.flush()
    return centroids, features


def main() -> None:
    """Time the whole, and what its parts take of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nuclei", type=int, default=100_000)
    count = parser.parse_args().nuclei
    torch.manual_seed(0)
    clip = load_clip(f"ViT-B-16/{UNTRAINED}")
    classifier = GraphClassifier(5).eval()
    encoding = 0.0

    def encode(texts: list[str]) -> torch.Tensor:
        nonlocal encoding
        start = time.perf_counter()
        features = clip.sentences(texts)
        encoding += time.perf_counter() - start
        return features

    with TemporaryDirectory() as folder:
        centroids, features = nuclei(count, Path(folder))
        before = peak_gigabytes()
        start, used = time.perf_counter(), time.process_time()
        type_nuclei(classifier, SentenceBank(encode), centroids, features, MPP, PATCH)
        total, used = time.perf_counter() - start, time.process_time() - used
        after = peak_gigabytes()
        start = time.perf_counter()
        neighbour_edges(centroids)
        edges = time.perf_counter() - start
        start = time.perf_counter()
        texts = sentences(centroids, features[:, 256:], MPP, PATCH)
        words = time.perf_counter() - start
    threads = torch.get_num_threads()
    print(f"{count:,} nuclei, {threads} threads: {total:.1f} s, {used:.1f} s of processors")
    print(f"  neighbours    {edges:6.2f} s")
    print(f"  sentences     {words:6.2f} s")
    print(f"  text encoder  {encoding:6.2f} s for {len(set(texts))} distinct sentences")
    print(f"peak memory {after:.2f} GB, {before:.2f} GB before")


if __name__ == "__main__":
    main()
