"""Evaluation of a model, or of a folder of predictions, on annotated images."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from napari_nucleus.datasets import Sample, Source, load_source, read_labels, read_types, type_index
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.report import report
from napari_nucleus.files import by_stem, visible_files
from napari_nucleus.inference.steps import at_once
from napari_nucleus.measure import DEFAULT_MPP
from napari_nucleus.metrics.aggregate import ImageScore, Nuclei, score_image
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.results import Result, open_result
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.weights.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel


class LabelledImage(NamedTuple):
    """The nuclei of an image as they were annotated or predicted.

    Attributes
    ----------
    labels : (H, W) ndarray of int
        0 = background.
    ids : ndarray
        (N + 1,), the number of each label in the file.
    types : pd.Series[str]
        Name of the type by that number; a nucleus without a type is left out.
    """

    labels: np.ndarray
    ids: np.ndarray
    types: "pd.Series[str]"

    def nuclei(self, names: Sequence[str]) -> Nuclei:
        """Return them with the types that are scored.

        Parameters
        ----------
        names : sequence of str
            Names of the types.
        """
        return Nuclei(self.labels, type_index(self.types, names, self.ids))


def evaluate_steps(
    model: "str | Path | NucleusModel | None" = None,
    data: Sequence[str | Path | Source] = (),
    pred: str | Path | None = None,
    truth: str | Path | None = None,
    mpp: float | None = None,
    device: str | None = None,
    parts: Sequence[str] = (),
) -> Generator[tuple[int, int], None, dict[str, Any]]:
    """Score a model on annotated images, or predictions against annotations.

    Give either `data`, with or without a model, or `pred` and `truth`. `evaluate` does it at once
    and returns the scores; `evaluate_steps` yields after every image.

    Parameters
    ----------
    model : str or Path or NucleusModel or None
        Name or file of a checkpoint, or a loaded model; None takes the one that ships.
    data : Sequence[str or Path or Source]
        Datasets in any of the forms that `datasets` reads. Each image is segmented at full
        resolution, on the road that `segment` takes. A dataset's classes meet the model's types as
        they do in training; nuclei of other classes do not count for types.
    pred, truth : str or Path or None
        Folders of label images ``<name>.tif``, with types in ``<name>.csv``, or of result folders
        ``<name>.nucleus``. Of a dataset folder its ``labels`` are taken. Every image of `truth`
        needs its counterpart in `pred`.
    mpp : float or None
        Micrometres per pixel of the images, if that of `data` is missing or wrong, or of the
        labels, 0.25 by default. Types are scored on nuclei whose centres are at most 3 µm apart.
    device : str or None
        As `segment` has it.
    parts : sequence of str
        Which parts of the official split of `data` to score, such as ``"test"``; none named scores
        those for training.

    Yields
    ------
    tuple
        Images done, and in all.

    Returns
    -------
    dict
        As `report.report` makes it: scores of all images together with their 95 % intervals, and
        ``per_dataset``, ``per_class`` and ``per_image``.

    Raises
    ------
    UserError
        If something is missing or cannot be read, or the two sides differ in size.

    Examples
    --------
    >>> import numpy as np, tifffile
    >>> from napari_nucleus import evaluate
    >>> with TemporaryDirectory() as folder:
    ...     for part, nuclei in {"truth": [[1, 2], [3, 0]], "pred": [[1, 2], [0, 0]]}.items():
    ...         (Path(folder) / part).mkdir()
    ...         labels = np.kron(nuclei, np.ones((16, 16), int)).astype(np.uint16)
    ...         tifffile.imwrite(Path(folder) / part / "tile.tif", labels)
    ...     scores = evaluate(pred=f"{folder}/pred", truth=f"{folder}/truth")
    >>> scores["images"], round(scores["dq"], 2)
    (1, 0.8)
    """
    of_model = bool(data) and pred is None and truth is None
    if of_model:
        sources = [_source(item, mpp, parts) for item in data]
        types, total, scores = _of_model(model, sources, device)
    elif pred is not None and truth is not None and not data and model is None:
        types, total, scores = _of_folders(Path(pred), Path(truth), mpp or DEFAULT_MPP)
    else:
        raise UserError("Give either a model and data, or predictions and their truth.")
    images: list[ImageScore] = []
    yield 0, total
    for image in scores:
        images.append(image)
        yield len(images), total
    return report(images, types)


evaluate = at_once(evaluate_steps)


def _source(item: str | Path | Source, mpp: float | None, parts: Sequence[str]) -> Source:
    if isinstance(item, Source):
        return item
    return Source(path=Path(item), mpp=mpp, parts=tuple(parts))


def _of_model(
    model: "str | Path | NucleusModel | None", sources: Sequence[Source], device: str | None
) -> tuple[Sequence[str], int, Iterator[ImageScore]]:
    """Return the types that are scored, how many images there are, and their scores."""
    from napari_nucleus.models import NucleusModel
    from napari_nucleus.models.checkpoints import load_checkpoint

    network = model if isinstance(model, NucleusModel) else load_checkpoint(model or DEFAULT_MODEL)
    # all of it at once: an error in the last image is reported before hours of work
    samples = [sample for source in sources for sample in load_source(source, network.types)]
    return network.types, len(samples), _segmented(network, samples, device)


def _segmented(
    network: "NucleusModel", samples: Sequence[Sample], device: str | None
) -> Iterator[ImageScore]:
    from napari_nucleus.inference import segment

    for sample in samples:
        slide = slide_from_arrays([sample.image], sample.mpp, sample.name)
        with TemporaryDirectory() as work:
            pred = _of_result(segment(slide, Path(work) / "one.nucleus", network, device=device))
        yield score_image(
            f"{sample.dataset} {sample.part}".strip(),
            sample.name,
            Nuclei(sample.labels, sample.types),
            pred.nuclei(network.types),
            len(network.types),
            sample.mpp,
            sample.ignored,
            sample.tissue,
        )


def _of_folders(
    pred: Path, truth: Path, mpp: float
) -> tuple[Sequence[str], int, Iterator[ImageScore]]:
    """Return the types that are scored, how many images there are, and their scores."""
    predicted, annotated = _files(pred), _files(truth)
    for name in annotated:
        if name not in predicted:
            raise UserError(f"{pred} holds no {name}.tif or {name}.nucleus, as {truth} does.")
    types = sorted({name for file in annotated.values() for name in _type_names(file)})
    if not {name for file in predicted.values() for name in _type_names(file)} & set(types):
        types = []
    scores = (
        _compared(truth.name, file, predicted[name], types, mpp) for name, file in annotated.items()
    )
    return types, len(annotated), scores


def _compared(
    dataset: str, truth: Path, pred: Path, types: Sequence[str], mpp: float
) -> ImageScore:
    true, found = _read(truth), _read(pred)
    if true.labels.shape != found.labels.shape:
        (true_height, true_width), (height, width) = true.labels.shape, found.labels.shape
        raise UserError(
            f"{truth} is {true_width} x {true_height} px, what is predicted {width} x {height}: "
            "they must match."
        )
    sides = true.nuclei(types), found.nuclei(types)
    return score_image(dataset, truth.stem, *sides, len(types), mpp)


def _files(folder: Path) -> dict[str, Path]:
    """Return the label images and results of a folder by name."""
    within = folder / "labels" if (folder / "labels").is_dir() else folder
    suffixes = (".tif", ".tiff", ".nucleus")
    files = by_stem(file for file in visible_files(within, "*") if file.suffix in suffixes)
    if not files:
        raise UserError(f"{folder} holds no label images <name>.tif and no results <name>.nucleus.")
    return files


def _type_names(file: Path) -> set[str]:
    if file.suffix == ".nucleus":
        return set(open_result(file).types) - {UNTYPED}
    table = file.with_suffix(".csv")
    return set(read_types(table)) if table.exists() else set()


def _read(file: Path) -> LabelledImage:
    if file.suffix == ".nucleus":
        return _of_result(open_result(file))
    table = file.with_suffix(".csv")
    types = read_types(table) if table.exists() else pd.Series(dtype=str)
    return LabelledImage(*read_labels(file), types)


def _of_result(result: Result) -> LabelledImage:
    height, width = result.shape
    labels = result.read_labels(0, 0, width, height)
    types = result.table().set_index("label")["type"]
    return LabelledImage(labels, np.arange(labels.max() + 1), types[types != UNTYPED])
