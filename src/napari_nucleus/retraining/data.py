"""The training and validation set of a retraining."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from napari_nucleus.datasets import Sample, Source, load_source
from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.slides import Slide

FEWEST = 50
"""Nuclei from which on a retraining can help."""

_SHARE = 0.2
"""Of the regions, or of the only one, that is kept for validation."""

_ARRAYS = ("image", "labels", "types", "doubtful", "ignored")


@dataclass(frozen=True)
class TrainingData:
    """Annotated regions at the model's µm/px.

    Attributes
    ----------
    training : list of Sample
        The training set.
    validation : list of Sample
        The validation set.
    """

    training: list[Sample]
    validation: list[Sample]

    def save(self, path: Path) -> None:
        """Write everything to an ``.npz`` file, so that a run can be resumed without its data.

        Parameters
        ----------
        path : Path
            The file.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        arrays: dict[str, Any] = {}
        about: dict[str, list[dict]] = {}
        for part, samples in vars(self).items():
            about[part] = []
            for i, sample in enumerate(samples):
                values = {k: v for k, v in vars(sample).items() if v is not None}
                for key in set(_ARRAYS) & values.keys():
                    arrays[f"{part}/{i}/{key}"] = values.pop(key)
                about[part].append(values)
        with replacing(path) as part_path, part_path.open("wb") as file:
            np.savez_compressed(file, about=json.dumps(about), **arrays)

    @classmethod
    def load(cls, path: Path) -> "TrainingData":
        """Read what `save` wrote.

        Parameters
        ----------
        path : Path
            The file.

        Raises
        ------
        UserError
            If it is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    **{
                        part: [
                            Sample(**_arrays(file, f"{part}/{i}/"), **values)
                            for i, values in enumerate(samples)
                        ]
                        for part, samples in json.loads(str(file["about"])).items()
                    }
                )
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            BadZipFile,
            zlib.error,
        ) as error:
            raise UserError(
                f"{path} is missing or damaged, so the run cannot be resumed: start a new one."
            ) from error


def _arrays(file: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {key: file[prefix + key] for key in _ARRAYS if prefix + key in file}


def read_training_data(
    data: Sequence[Path],
    types: Sequence[str],
    mpp: float,
    images: Mapping[Path, Slide] | None = None,
) -> TrainingData:
    """Read annotated regions, and hold some out.

    About 20 % of the regions are held out for validation, those with middling numbers of nuclei; of
    a single region, 20 % of its area.

    Parameters
    ----------
    data : sequence of Path
        Result folders, dataset folders, GeoJSON files.
    types : sequence of str
        Names of the types to be learned.
    mpp : float
        µm/px of the model.
    images : mapping of Path to Slide or None
        Result folder to its image, of results whose image is in no file.

    Raises
    ------
    UserError
        If there is none, something cannot be read, or a result has no reviewed region.
    """
    if not data:
        raise UserError(
            "There is no training data: add results with reviewed regions, dataset folders or "
            "GeoJSON files."
        )
    samples: list[Sample] = []
    for path, name in zip(data, _names(data), strict=True):
        if path.suffix == ".nucleus" and path.is_dir() and not reviewed_regions(path):
            raise UserError(
                f"{path.name} has no reviewed region: mark one under Correct nuclei, or take the "
                "result off the list."
            )
        source = Source(path=path, image=(images or {}).get(path))
        samples += (replace(one, dataset=name) for one in load_source(source, types, mpp))
    return hold_out(samples)


def _names(data: Sequence[Path]) -> list[str]:
    """Name datasets by their paths' last parts, and no two alike."""
    seen: Counter[str] = Counter()
    names = []
    for path in data:
        seen[path.name] += 1
        names.append(path.name if seen[path.name] == 1 else f"{path.name} ({seen[path.name]})")
    return names


def hold_out(samples: list[Sample]) -> TrainingData:
    """Split regions into training and validation set.

    Parameters
    ----------
    samples : list of Sample
        The annotated regions.
    """
    if len(samples) == 1:
        first, last = _cut(samples[0])
        return TrainingData([first], [last])
    by_nuclei = sorted(samples, key=lambda sample: len(_nuclei(sample)))
    kept = max(round(_SHARE * len(samples)), 1)
    middles = {math.ceil((i + 0.5) * len(samples) / kept) - 1 for i in range(kept)}
    return TrainingData(
        [sample for i, sample in enumerate(by_nuclei) if i not in middles],
        [by_nuclei[i] for i in sorted(middles)],
    )


def check(data: TrainingData, types: Sequence[str], known: Sequence[str], train: str) -> None:
    """Check that the data suffice for training.

    Parameters
    ----------
    data : TrainingData
        What there is.
    types : sequence of str
        Names of the types to be learned.
    known : sequence of str
        Those of them that the starting model knows already.
    train : str
        As `Retraining.train` has it.

    Raises
    ------
    UserError
        If nuclei are too few, of one type only, or lack a new type, or none is left for validation.
    """
    every = [*data.training, *data.validation]
    count = sum(len(_nuclei(sample)) for sample in every)
    if count < FEWEST:
        raise UserError(
            f"{count} nuclei are annotated: review more regions, until there are {FEWEST}."
        )
    for samples, what in ((data.training, "training"), (data.validation, "validation")):
        if not any(len(_nuclei(sample)) for sample in samples):
            raise UserError(f"No nucleus is left for {what}: review another region that has some.")
    _check_types(data.training, types, known, train)


def _check_types(
    samples: list[Sample], types: Sequence[str], known: Sequence[str], train: str
) -> None:
    if train == "types" and len(types) < 2:
        raise UserError("Classes are to be learned, but there are not two: name them all.")
    counts: Counter[int] = Counter()
    for sample in samples:
        counts.update(sample.types[_nuclei(sample)].tolist())
    there = [name for i, name in enumerate(types, 1) if counts[i]]
    missing = [name for name in types if name not in there and name not in known]
    if missing:
        raise UserError(
            f"The training data contain no {', '.join(missing)}: review some, or remove the class "
            "from the list."
        )
    if len(types) > 1 and (len(there) == 1 or (train == "types" and not there)):
        found = (
            f"All nuclei in the training data are {there[0]}" if there else "No nucleus has a class"
        )
        raise UserError(
            f"{found}: review some of other classes, or empty the list of classes to train "
            "segmentation only."
        )


def _nuclei(sample: Sample) -> np.ndarray:
    """Return the labels that are there; some are lost where an image is cut or made smaller."""
    found = np.unique(sample.labels)
    return found[found > 0]


def _cut(sample: Sample) -> tuple[Sample, Sample]:
    """Part a region across its longer side."""
    axis = int(np.argmax(sample.labels.shape))
    at = round((1 - _SHARE) * sample.labels.shape[axis])

    def piece(part: slice, name: str) -> Sample:
        piece_index = (part, slice(None)) if axis == 0 else (slice(None), part)
        ignored = None if sample.ignored is None else sample.ignored[piece_index]
        image, labels = sample.image[piece_index], sample.labels[piece_index]
        return replace(sample, name=name, image=image, labels=labels, ignored=ignored)

    return piece(slice(at), f"{sample.name} (1)"), piece(slice(at, None), f"{sample.name} (2)")


def knows_types(samples: Sequence[Sample]) -> bool:
    """Return whether any nucleus has a type.

    Parameters
    ----------
    samples : sequence of Sample
        Annotated images.
    """
    return any((sample.types[_nuclei(sample)] != UNKNOWN).any() for sample in samples)


def count_shaped(samples: Sequence[Sample]) -> int:
    """Return how many nuclei of known outline there are.

    Parameters
    ----------
    samples : sequence of Sample
        Annotated images.
    """
    return sum(int((~sample.doubtful[_nuclei(sample)]).sum()) for sample in samples)
