"""Teach classes on nuclei whose class is known: how many examples does it take?

A simulated user gives the classes of 5, 10, 25, 50 and 100 nuclei per class on average: as many of
each at random, or, after the first 5, those that the list asks for. Scored are other true nuclei:
of the same images the half that is never asked about, or those of images that taught nothing.
`--nuclei N` times a slide of N nuclei instead.

    PYTHONPATH=. python benchmarks/teaching.py --data DIR --out docs/teaching.png
    PYTHONPATH=. python benchmarks/teaching.py --nuclei 1000000
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import tifffile
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

from benchmarks.memory import peak_gigabytes
from napari_nucleus.inference import predict_image
from napari_nucleus.measure import measure
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.results import Result, ResultWriter, open_result
from napari_nucleus.results.features import FeatureWriter
from napari_nucleus.results.journal.rows import NucleusTable
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.teaching.classifier import Moments, NucleusClassifier, fit_classifier
from napari_nucleus.teaching.examples import Examples
from napari_nucleus.teaching.make_features import make_features_steps, measured_nuclei
from napari_nucleus.teaching.next_nuclei import next_nuclei
from napari_nucleus.teaching.slide_nuclei import COLUMNS, SlideNuclei
from napari_nucleus.weights.store import DEFAULT_MODEL

COUNTS = (5, 10, 25, 50, 100)
SEEDS = 10
GAP = 400  # px of white between the fields of one slide
ASKED = 20  # nuclei that the list asks for at once
MPP = {"consep_train": 0.25, "nucls_sample": 0.2, "monuseg_extra": 0.25}


@dataclass(frozen=True)
class Slide:
    """Nuclei with their classes."""

    nuclei: SlideNuclei
    moments: Moments
    described: NDArray[np.float32]
    classes: NDArray[np.object_]
    shipped: NDArray[np.object_]

    def examples(self, index: Sequence[int]) -> Examples:
        types = {int(self.nuclei.labels[i]): self.classes[i] for i in index}
        return Examples.of(self.nuclei, types)


Chosen = list[list[int]]
"""Places of the examples, by slide."""


@dataclass(frozen=True)
class Task:
    """Slides to teach on and slides to be scored on, which may be the same.

    Of the same slides, half the nuclei of every class are never asked about, and scored.
    """

    name: str
    taught: list[Slide]
    scored: list[Slide]
    seed: int = 0

    @property
    def same(self) -> bool:
        return self.taught is self.scored

    @property
    def classes(self) -> list[str]:
        return sorted({name for slide in self.scored for name in slide.classes})

    def kept_back(self) -> list[NDArray[np.int64]]:
        """Return the places, by taught slide, of the nuclei that are scored."""
        rng = np.random.default_rng(self.seed)
        kept: list[NDArray[np.int64]] = []
        for slide in self.taught:
            order = rng.permutation(len(slide.classes))
            order = order[np.argsort(slide.classes[order].astype(str), kind="stable")]
            kept.append(np.sort(order[::2]) if self.same else order[:0])
        return kept

    def f1(self, given: list[NDArray[np.object_]]) -> NDArray[np.float64]:
        """Return F1 by class, in the order of `classes`."""
        truth = [slide.classes for slide in self.scored]
        if self.same:
            truth, given = (
                [each[kept] for each, kept in zip(values, self.kept_back(), strict=True)]
                for values in (truth, given)
            )
        names = [np.concatenate(values).astype(str) for values in (truth, given)]
        return f1_score(*names, labels=self.classes, average=None, zero_division=0)


def field(data: Path, dataset: str, name: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return the image, the labels and their table of a field of a dataset."""
    folder = data / dataset
    (file,) = (folder / "images").glob(f"{name}.*")
    labels = tifffile.imread(folder / "labels" / f"{name}.tif").astype(np.int32)
    csv = folder / "labels" / f"{name}.csv"
    table = pd.read_csv(csv) if csv.exists() else pd.DataFrame({"label": np.unique(labels)[1:]})
    return np.array(Image.open(file).convert("RGB")), labels, table


def side_by_side(
    fields: list[tuple[np.ndarray, np.ndarray, pd.DataFrame]],
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return several fields as one slide."""
    height = max(image.shape[0] for image, _, _ in fields)
    width = sum(image.shape[1] + GAP for image, _, _ in fields) - GAP
    image = np.full((height, width, 3), 255, np.uint8)
    labels = np.zeros((height, width), np.int32)
    tables: list[pd.DataFrame] = []
    x = first = 0
    for pixels, numbers, table in fields:
        place = (slice(pixels.shape[0]), slice(x, x + pixels.shape[1]))
        image[place] = pixels
        labels[place] = np.where(numbers > 0, numbers + first, 0)
        tables.append(table.assign(label=table["label"] + first))
        first += int(numbers.max())
        x += pixels.shape[1] + GAP
    return image, labels, pd.concat(tables, ignore_index=True)


def load(
    work: Path,
    network: NucleusModel,
    mpp: float,
    made: tuple[np.ndarray, np.ndarray, pd.DataFrame],
    name: str,
    classes: Callable[[pd.DataFrame], pd.Series],
) -> Slide:
    """Make a result of true nuclei, its features, and what else is asked about it."""
    image, labels, table = made
    slide = slide_from_arrays([image], mpp, name)
    path = work / network.sha256[:8] / f"{name}.nucleus"
    measured = measure(labels, image, mpp)
    if not path.exists():
        run = {
            "source": {"path": None, "sha256": slide.digest()},
            "model": {"name": "truth", "sha256": "", "mpp": mpp, "types": []},
            "options": {},
            "device": "cpu",
        }
        with ResultWriter(path, labels.shape, mpp, {"nucleus": "#2fbaff"}, run) as writer:
            writer.write_labels(0, 0, labels)
            writer.append(measured.assign(type="nucleus", type_prob=1.0))
            writer.finish(seconds={})
    result = open_result(path)
    for _ in make_features_steps(result, measured_nuclei(result), network, slide):
        pass
    nuclei = SlideNuclei.read(result)
    known = measured.merge(table, on="label", how="left").set_index("label")
    return Slide(
        nuclei,
        Moments.of(nuclei),
        nuclei.describe(np.arange(len(nuclei))),
        classes(known).reindex(nuclei.labels).astype(str).to_numpy(object),
        shipped_types(network, made, mpp),
    )


def shipped_types(
    network: NucleusModel, made: tuple[np.ndarray, np.ndarray, pd.DataFrame], mpp: float
) -> NDArray[np.object_]:
    """Return the types that the network itself gives the nuclei: the votes of their pixels."""
    image, labels, _ = made
    height, width = labels.shape
    scale = network.mpp / mpp
    size = (round(width / scale), round(height / scale))
    pixels = slide_from_arrays([image], mpp).read_scaled((0, 0, width, height), size)
    votes = predict_image(pixels, network)["tp"]
    x, y = (
        ((np.arange(count) + 0.5) / whole * part).astype(int).clip(0, part - 1)
        for count, whole, part in zip((width, height), (width, height), size, strict=True)
    )
    inside = labels > 0
    counts = np.zeros((labels.max() + 1, len(network.types) + 1), int)
    np.add.at(counts, (labels[inside], votes[y][:, x][inside]), 1)
    return np.array(network.types, object)[counts[np.unique(labels[inside]), 1:].argmax(1)]


def at_random(task: Task, count: int) -> Chosen:
    """Choose as many nuclei of each class, or all that there are."""
    rng = np.random.default_rng(task.seed)
    kept = task.kept_back()
    places = [
        (i, j)
        for i, slide in enumerate(task.taught)
        for j in np.setdiff1d(np.arange(len(slide.classes)), kept[i]).tolist()
    ]
    classes = np.array([task.taught[i].classes[j] for i, j in places])
    chosen: Chosen = [[] for _ in task.taught]
    for name in np.unique(classes):
        own = rng.permutation(np.flatnonzero(classes == name))
        for place in own[:count]:
            slide, nucleus = places[place]
            chosen[slide].append(nucleus)
    return chosen


def taught_on(task: Task, chosen: Chosen) -> NucleusClassifier:
    """Return what these examples teach."""
    pairs = list(zip(task.taught, chosen, strict=True))
    examples = Examples.joined([slide.examples(index) for slide, index in pairs if index])
    moments = Moments.joined([slide.moments for slide in task.taught])
    return fit_classifier(examples, moments, task.taught[0].nuclei.network)


def by_list(task: Task) -> Iterator[tuple[int, Chosen]]:
    """Begin with a few nuclei of each class, then give the classes that the list asks for.

    Yields a count and the examples, which are as many as `at_random` takes for that count.
    """
    chosen = at_random(task, COUNTS[0])
    for count in COUNTS:
        total = sum(map(len, at_random(task, count)))
        while (lacking := total - sum(map(len, chosen))) > 0:
            classifier = taught_on(task, chosen)
            each = -(-min(lacking, ASKED) // len(task.taught))
            for slide, index, kept in zip(task.taught, chosen, task.kept_back(), strict=True):
                if (lacking := total - sum(map(len, chosen))) <= 0:
                    break
                predicted = classifier.predict(slide.nuclei)
                known = slide.nuclei.labels[[*index, *kept]].tolist()
                asked = next_nuclei(slide.nuclei, classifier, predicted, known, min(each, lacking))
                index += np.searchsorted(slide.nuclei.labels, asked).tolist()
        yield count, chosen


def given_by(task: Task, classifier: NucleusClassifier) -> list[NDArray[np.object_]]:
    """Return what a classifier says of the slides that are scored."""
    names = np.array(list(classifier.classes), object)
    return [names[classifier.predict(slide.nuclei).codes] for slide in task.scored]


def given_by_columns(task: Task, chosen: Chosen) -> list[NDArray[np.object_]]:
    """Return what random trees say that see shape and stain alone, QuPath's default."""
    taught = np.concatenate(
        [s.nuclei.own[i, -len(COLUMNS) :] for s, i in zip(task.taught, chosen, strict=True)]
    )
    classes = np.concatenate([s.classes[i] for s, i in zip(task.taught, chosen, strict=True)])
    trees = RandomForestClassifier(200, class_weight="balanced", random_state=0)
    trees.fit(taught.astype(np.float32), classes.astype(str))
    return [trees.predict(s.nuclei.own[:, -len(COLUMNS) :].astype(np.float32)) for s in task.scored]


def run(task: Task) -> list[dict[str, object]]:
    """Return a row per number of examples, way of choosing, and seed."""
    rows: list[dict[str, object]] = []

    def add(drawn: Task, way: str, count: int, f1: NDArray[np.float64], **more: object) -> None:
        by_class = dict(zip(drawn.classes, f1.round(4).tolist(), strict=True))
        about = {"task": drawn.name, "way": way, "count": count, "seed": drawn.seed}
        rows.append({**about, "f1": f1.mean(), **more, "by_class": by_class})

    for seed in range(SEEDS):
        drawn = replace(task, seed=seed)

        for count in COUNTS:
            chosen = at_random(drawn, count)
            classifier = taught_on(drawn, chosen)
            f1 = drawn.f1(given_by(drawn, classifier))
            add(drawn, "random", count, f1, **intervals(drawn, classifier, f1))
            add(drawn, "columns", count, drawn.f1(given_by_columns(drawn, chosen)))
        for count, chosen in by_list(drawn):
            classifier = taught_on(drawn, chosen)
            add(drawn, "list", count, drawn.f1(given_by(drawn, classifier)))
    return rows


def intervals(
    task: Task, classifier: NucleusClassifier, f1: NDArray[np.float64]
) -> dict[str, object]:
    """Return what the classifier says of itself, and how often its 95 % intervals are right."""
    if not task.same:
        return {}
    report = classifier.report(classifier.predict(task.scored[0].nuclei).shares)
    order = [report.classes.index(name) for name in task.classes]
    held = (report.low[order] <= f1) & (f1 <= report.high[order])
    return {"own_f1": report.mean, "held": held.mean(), "width": (report.high - report.low).mean()}


def tasks(data: Path, work: Path, network: NucleusModel) -> Iterator[Task]:
    """Yield what is taught: colon, breast, and two classes that geometry alone decides."""

    def fields(dataset: str, names: Sequence[str], one: str = "") -> list[tuple]:
        made = [field(data, dataset, name) for name in names]
        return [(one, side_by_side(made))] if one else list(zip(names, made, strict=True))

    def slides(
        dataset: str, named: list[tuple], classes: Callable[[pd.DataFrame], pd.Series]
    ) -> list[Slide]:
        mpp = MPP[dataset]
        return [load(work, network, mpp, made, name, classes) for name, made in named]

    last = [f"train_{number}" for number in range(23, 28)]
    first = [f"train_{number:02d}" for number in range(1, 23)]
    for column, words in (("source_type", "seven classes"), ("type", "five types")):

        def by_column(table: pd.DataFrame, column: str = column) -> pd.Series:
            return table[column]

        own = slides("consep_train", fields("consep_train", last, "colon"), by_column)
        yield Task(f"colon, {words}, same images", own, own)
        taught = slides("consep_train", fields("consep_train", first), by_column)
        scored = slides("consep_train", fields("consep_train", last), by_column)
        yield Task(f"colon, {words}, other images", taught, scored)
    breast = fields("nucls_sample", [f"train_{number}" for number in range(1, 11)], "breast")
    own = slides("nucls_sample", breast, lambda table: table["type"])
    yield Task("breast, tumour or not, same images", own, own)
    names = sorted(file.stem for file in (data / "monuseg_extra" / "images").iterdir())
    for measurement, words in (("area_um2", "large"), ("circularity", "round")):

        def upper_quarter(table: pd.DataFrame, measurement: str = measurement) -> pd.Series:
            values = table[measurement]
            return pd.Series(np.where(values > values.quantile(0.75), "yes", "no"), table.index)

        made = fields("monuseg_extra", names, "several organs")
        own = slides("monuseg_extra", made, upper_quarter)
        yield Task(f"several organs, {words} or not, same images", own, own)


def shipped_f1(task: Task) -> float | None:
    """Return the mean F1 of the network's own types, where the classes are these."""
    given = [slide.shipped for slide in task.scored]
    known = {name for names in given for name in names}
    return task.f1(given).mean() if known & set(task.classes) else None


def interval(values: pd.Series) -> float:
    """Return half the 95 % interval of a mean over draws."""
    return 1.96 * values.std() / np.sqrt(len(values))


def show(rows: pd.DataFrame, shipped: dict[str, float | None], out: Path) -> None:
    """Print a table, and draw a figure of the first tasks."""
    cells = rows.groupby(["task", "way", "count"], sort=False)["f1"].agg(["mean", interval])
    for task in rows["task"].unique():
        print(f"\n{task}; the network's own types: {shipped[task] or float('nan'):.3f}")
        print("| examples of each class | list | at random | columns alone | list - random |")
        print("|---|---|---|---|---|")
        for count in COUNTS:
            ways = (cells.xs((task, way, count)) for way in ("list", "random", "columns"))
            values = [f"{cell['mean']:.3f} ± {cell['interval']:.3f}" for cell in ways]
            own = rows[(rows["task"] == task) & (rows["count"] == count)].set_index("seed")
            paired = own[own["way"] == "list"]["f1"] - own[own["way"] == "random"]["f1"]
            values.append(f"{paired.mean():+.3f} ± {interval(paired):.3f}")
            print(f"| {count} | {' | '.join(values)} |")
    same = rows[rows["own_f1"].notna()].groupby(["task", "count"], sort=False)
    print("\nWhat the classifier says of itself")
    print(same[["f1", "own_f1", "held", "width"]].mean().round(3).to_string())
    names = [task for task in rows["task"].unique() if task.startswith("colon, seven")]
    figure, axes = plt.subplots(1, len(names), figsize=(8, 3.4), sharey=True)
    for axis, task in zip(axes, names, strict=True):
        for way, words in (
            ("list", "list"),
            ("random", "at random"),
            ("columns", "shape and stain alone, random trees"),
        ):
            part = cells.loc[task, way]
            axis.errorbar(part.index, part["mean"], part["interval"], label=words, capsize=2)
        axis.set_xscale("log")
        axis.set_xticks(COUNTS, map(str, COUNTS))
        axis.minorticks_off()
        axis.set_title(task.removeprefix("colon, "), fontsize=10)
        axis.set_xlabel("examples of each class")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean F1 of nuclei not taught")
    axes[0].set_ylim(0, 1)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def timed(count: int) -> None:
    """Time a slide of many nuclei, with the features of the default network."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 10 * np.sqrt(count), (count, 2)) / 0.25
    column, row = (centres // 1000).T
    centres = centres[np.lexsort((column, row))]  # as tiles find them
    names = ["stroma", "immune", "tumour", "muscle", "vessel", "other"]
    nuclei = {
        "label": np.arange(1, count + 1, dtype=np.int32),
        "type": rng.choice(np.array(names, object), count),
        "centroid_x": centres[:, 0],
        "centroid_y": centres[:, 1],
        **{name: rng.gamma(9, 4, count).astype(np.float32) for name in COLUMNS},
    }

    def lap(what: str, start: float) -> float:
        used = time.process_time() - start
        print(f"{what:<32} {used:7.2f} s, most memory {peak_gigabytes():.2f} GB", flush=True)
        return time.process_time()

    with TemporaryDirectory() as folder:
        path = Path(folder)
        print(f"{count:,} nuclei; without their features {peak_gigabytes():.2f} GB")
        clock = time.process_time()
        writer = FeatureWriter(path, {"name": "benchmark", "sha256": "0"})
        for start in range(0, count, 500):
            piece = {name: values[start : start + 500] for name, values in nuclei.items()}
            writer.append(pd.DataFrame(piece), rng.normal(size=(len(piece["label"]), 80)))
        writer.flush()
        clock = lap("features written", clock)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        print(f"on disk {size / 1e6:.0f} MB")
        result = SimpleNamespace(
            path=path, mpp=0.25, nuclei=lambda _: NucleusTable(pa.table(nuclei))
        )
        read = SlideNuclei.read(cast(Result, result))
        clock = lap("read, with neighbours", clock)
        moments = Moments.of(read)
        chosen = rng.choice(count, 150, replace=False)
        types = {int(read.labels[i]): nuclei["type"][i] for i in chosen}
        clock = lap("mean and spread of the slide", clock)
        examples = Examples.of(read, types)
        clock = lap("150 examples described", clock)
        classifier = fit_classifier(examples, moments, read.network)
        clock = lap("fitted and cross-validated", clock)
        predicted = classifier.predict(read)
        clock = lap("all nuclei classified", clock)
        next_nuclei(read, classifier, predicted, list(types))
        lap("next nuclei chosen", clock)


def main() -> None:
    """Teach all tasks, or time a large slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of dataset folders")
    parser.add_argument("--out", type=Path, default=Path("teaching.png"), help="the figure")
    parser.add_argument("--rows", type=Path, help="CSV file for the single draws")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--nuclei", type=int, help="time a slide of so many nuclei instead")
    arguments = parser.parse_args()
    if arguments.nuclei:
        timed(arguments.nuclei)
        return
    network = load_checkpoint(arguments.model)
    rows: list[dict[str, object]] = []
    shipped: dict[str, float | None] = {}
    with TemporaryDirectory() as work:
        for task in tasks(arguments.data, Path(work), network):
            rows += run(task)
            shipped[task.name] = shipped_f1(task)
    table = pd.DataFrame(rows)
    if arguments.rows:
        table.to_csv(arguments.rows, index=False)
    show(table, shipped, arguments.out)


if __name__ == "__main__":
    main()
