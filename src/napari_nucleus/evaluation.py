"""How well a model, or a folder of predictions, agrees with annotated images."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from napari_nucleus.checkpoints import DEFAULT_MODEL
from napari_nucleus.datasets import image_files, read_labels, read_types, type_index
from napari_nucleus.errors import UserError
from napari_nucleus.metrics import bootstrap_ci
from napari_nucleus.result import Result, open_result
from napari_nucleus.scoring import ImageScore, Nuclei, score_image, summarize

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel

_MPP = 0.25
"""µm/px where nothing else is said: a 40x scan, as most annotated images are."""

_UNTYPED = "nucleus"
"""What nuclei are called by a model that knows no types."""


class Marked(NamedTuple):
    """The nuclei of an image as they were annotated or predicted.

    Attributes
    ----------
    labels
        Int (H, W), 0 = background.
    ids
        (N + 1,), the number of each label in the file.
    types
        Name of the type by that number; a nucleus without a type is left out.
    """

    labels: np.ndarray
    ids: np.ndarray
    types: "pd.Series[str]"

    def nuclei(self, names: Sequence[str]) -> Nuclei:
        """Return them with the types that are scored."""
        return Nuclei(self.labels, type_index(self.types, names, self.ids))


class Case(NamedTuple):
    """An image to be scored: where it belongs, and how its two sides are had."""

    dataset: str
    name: str
    truth: Path
    predict: Callable[[], Marked]


def evaluate(
    model: "str | Path | NucleusModel | None" = None,
    data: Sequence[str | Path] = (),
    pred: str | Path | None = None,
    truth: str | Path | None = None,
    mpp: float | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Score a model on annotated images, or predictions against annotations.

    Parameters and errors are those of `evaluate_steps`.

    Returns
    -------
    dict
        ``images``, their number; the mean over images of ``dice``, ``dice2``, ``aji``,
        ``aji_plus``, ``dq``, ``sq`` and ``pq`` (see `metrics.score_pair`); ``ci95``, of each the
        95 % interval ``[low, high]``; ``per_image``, the scores of each with its ``dataset`` and
        ``name``. Where both sides have types in common also ``f1d``, ``accuracy``, ``f1`` by type,
        ``bpq`` and ``mpq`` (see `scoring.summarize`). A score that is not defined is NaN.
    """
    steps = evaluate_steps(model, data, pred, truth, mpp, device)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def evaluate_steps(
    model: "str | Path | NucleusModel | None" = None,
    data: Sequence[str | Path] = (),
    pred: str | Path | None = None,
    truth: str | Path | None = None,
    mpp: float | None = None,
    device: str | None = None,
) -> Generator[tuple[int, int], None, dict[str, Any]]:
    """Score image by image; either `data`, with a model, or `pred` and `truth`.

    Parameters
    ----------
    model
        Name or file of a checkpoint, or a loaded model; None takes the one that ships.
    data
        Dataset folders. Each image is segmented at full resolution, on the road that `segment`
        takes.
    pred, truth
        Folders of label images ``<name>.tif``, with types in ``<name>.csv``, or of result folders
        ``<name>.nucleus``. Of a dataset folder its ``labels`` are taken. Every image of `truth`
        needs its counterpart in `pred`.
    mpp
        Micrometres per pixel of the images, 0.25 by default. It tells a model what it sees; types
        are scored on nuclei whose centres are at most 3 µm apart.
    device
        As `segment` has it.

    Yields
    ------
    tuple
        Images done, and in all.

    Returns
    -------
    dict
        As the generator's value, what `evaluate` returns.

    Raises
    ------
    UserError
        If something is missing or cannot be read, or the two sides differ in size.
    """
    with TemporaryDirectory() as work:
        if data and pred is None and truth is None:
            cases, known = _of_model(model, data, mpp or _MPP, device, Path(work))
        elif pred is not None and truth is not None and not data and model is None:
            cases, known = _of_folders(Path(pred), Path(truth))
        else:
            raise UserError("Give either a model and data, or predictions and their truth.")
        annotated = {name for case in cases for name in _type_names(case.truth)}
        types = sorted(annotated) if annotated & known else []
        scores = []
        yield 0, len(cases)
        for case in cases:
            scores.append(_score(case, types, mpp or _MPP))
            yield len(scores), len(cases)
    return _report(scores, types)


def _of_model(
    model: "str | Path | NucleusModel | None",
    data: Sequence[str | Path],
    mpp: float,
    device: str | None,
    work: Path,
) -> tuple[list[Case], set[str]]:
    from napari_nucleus.checkpoints import load_checkpoint
    from napari_nucleus.inference import segment
    from napari_nucleus.models import NucleusModel

    network = model if isinstance(model, NucleusModel) else load_checkpoint(model or DEFAULT_MODEL)

    def segmented(image: Path) -> Marked:
        out = work / f"{image.stem}.nucleus"
        return _of_result(segment(image, out, network, mpp=mpp, device=device))

    cases = []
    for folder in map(Path, data):
        for image in image_files(folder):
            truth = folder / "labels" / f"{image.stem}.tif"
            if not truth.is_file():
                raise UserError(f"{truth} is missing: every image needs a label image.")
            cases.append(Case(folder.name, image.stem, truth, partial(segmented, image)))
    return cases, set(network.types)


def _of_folders(pred: Path, truth: Path) -> tuple[list[Case], set[str]]:
    predicted = _files(pred)
    cases = []
    for name, file in _files(truth).items():
        if name not in predicted:
            raise UserError(f"{pred} holds no {name}.tif or {name}.nucleus, as {truth} does.")
        cases.append(Case(truth.name, name, file, partial(_read, predicted[name])))
    return cases, {name for file in predicted.values() for name in _type_names(file)}


def _files(folder: Path) -> dict[str, Path]:
    """Return the label images and results of a folder by name."""
    within = folder / "labels" if (folder / "labels").is_dir() else folder
    kinds = (".tif", ".tiff", ".nucleus")
    files = {file.stem: file for file in sorted(within.glob("*")) if file.suffix in kinds}
    if not files:
        raise UserError(f"{folder} holds no label images <name>.tif and no results <name>.nucleus.")
    return files


def _type_names(file: Path) -> set[str]:
    if file.suffix == ".nucleus":
        return set(open_result(file).types) - {_UNTYPED}
    table = file.with_suffix(".csv")
    return set(read_types(table)) if table.exists() else set()


def _read(file: Path) -> Marked:
    if file.suffix == ".nucleus":
        return _of_result(open_result(file))
    table = file.with_suffix(".csv")
    types = read_types(table) if table.exists() else pd.Series(dtype=str)
    return Marked(*read_labels(file), types)


def _of_result(result: Result) -> Marked:
    height, width = result.shape
    labels = result.read_labels(0, 0, width, height)
    types = result.table().set_index("label")["type"]
    return Marked(labels, np.arange(labels.max() + 1), types[types != _UNTYPED])


def _score(case: Case, types: Sequence[str], mpp: float) -> ImageScore:
    true, pred = _read(case.truth), case.predict()
    if true.labels.shape != pred.labels.shape:
        (true_height, true_width), (height, width) = true.labels.shape, pred.labels.shape
        raise UserError(
            f"{case.truth} is {true_width} x {true_height} px, what is predicted {width} x "
            f"{height}: they must match."
        )
    return score_image(
        case.dataset,
        case.name,
        true.nuclei(types),
        pred.nuclei(types),
        types=len(types),
        mpp=mpp,
    )


def _report(images: Sequence[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    ci95 = {key: bootstrap_ci([i.scores[key] for i in images]) for key in images[0].scores}
    return {
        "images": len(images),
        **summarize(images, types),
        "ci95": {key: list(interval) for key, interval in ci95.items()},
        "per_image": [{"dataset": i.dataset, "name": i.name, **i.scores} for i in images],
    }
