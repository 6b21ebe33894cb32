"""CoNSeP, CPM-15, CPM-17 and Lizard: images beside instance maps in MATLAB files.

Graham et al., Medical Image Analysis 2019, doi:10.1016/j.media.2019.101563; Vu et al., Frontiers in
Bioengineering and Biotechnology 2019, doi:10.3389/fbioe.2019.00053; Graham et al., ICCV Workshops
2021, arXiv:2108.11195.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import (
    IMAGES,
    Layout,
    both,
    pair,
    read_csv,
    read_image,
    read_mat,
)
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError

CONSEP_TYPES = (
    "other",
    "inflammatory",
    "healthy_epithelial",
    "malignant_epithelial",
    "fibroblast",
    "muscle",
    "endothelial",
)
"""By their numbers in the files, from 1."""

COLON_TYPES = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")
"""Of Lizard and CoNIC, by their numbers in the files, from 1."""

COLON_COMMON = {
    **dict.fromkeys(("neutrophil", "lymphocyte", "plasma", "eosinophil"), "inflammatory"),
    "connective": "spindle",
}
"""Epithelial nuclei are left out: the sets do not tell malignant from normal ones."""

MAPS = "*/labels/*.mat"
_SPLIT = ("train", "test")


def instance_records(
    source: Source,
    layout: Layout,
    types: tuple[str, ...] = (),
    part: Callable[[Path], str | None] = lambda file: "",
) -> Iterator[Record]:
    """List ``Images/<name>.png`` and ``Labels/<name>.mat``, as HoVer-Net's authors lay them out.

    Parameters
    ----------
    source : Source
        The dataset.
    layout : Layout
        Its files.
    types : tuple of str
        Class names by their numbers in ``type_map``, from 1.
    part : callable
        Part of the split that a file belongs to; None leaves it out.

    Yields
    ------
    Record
        One per image.
    """
    images = (file for file in layout.glob("*/images/*") if file.suffix.lower() in IMAGES)
    files = pair(images, layout.glob(MAPS), key=lambda file: (file.parent.parent, file.stem))
    for image, labels in files:
        file = labels or image
        assert file is not None
        if (official := part(file)) is not None:
            yield Record(file.stem, official, file, partial(_read, image, labels, types))


def _read(image: Path | None, labels: Path | None, types: tuple[str, ...]) -> AnnotatedImage:
    image, file = both(image, labels)
    pixels, _ = read_image(image)
    if not types:
        (instances,) = read_mat(file, "inst_map")
        return AnnotatedImage(pixels, instances)
    instances, classes = read_mat(file, "inst_map", "type_map")
    return AnnotatedImage(pixels, instances, majority(instances, classes, types, file))


def majority(
    labels: np.ndarray, classes: np.ndarray, types: tuple[str, ...], file: Path
) -> dict[int, str]:
    """Return the class that most pixels of a nucleus have, by the number of the nucleus.

    Parameters
    ----------
    labels, classes : (H, W) ndarray of int
        Number of the nucleus, and of its class from 1; 0 for none.
    types : tuple of str
        Class names by their numbers, from 1.
    file : Path
        File that they come from, for the message.

    Returns
    -------
    dict of int to str
        Without the nuclei that have no class.

    Raises
    ------
    UserError
        If the two differ in size, or a class has no name.
    """
    if labels.shape != classes.shape:
        raise UserError(
            f"{file} has classes of {classes.shape}, nuclei of {labels.shape} px: they must match."
        )
    inside = (labels > 0) & (classes > 0)
    nucleus, number = labels[inside].astype(np.int64), classes[inside].astype(np.int64)
    if number.max(initial=0) > len(types):
        raise UserError(
            f"{file} has a class {number.max()}, but there are {len(types)}: is it of this dataset?"
        )
    pairs, counts = np.unique(nucleus * (len(types) + 1) + number, return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]  # the most frequent comes last, and stays
    nuclei, numbers = (part.tolist() for part in np.divmod(pairs, len(types) + 1))
    return {n: types[number - 1] for n, number in zip(nuclei, numbers, strict=True)}


def _folder_part(file: Path) -> str:
    folder = file.parent.parent.name.lower()
    return folder if folder in _SPLIT else ""


def _is_consep(layout: Layout) -> bool:
    files = layout.glob(MAPS)
    return bool(files) and all(f.stem.lower().startswith(("train_", "test_")) for f in files)


def _is_cpm(layout: Layout, split: bool) -> bool:
    files = layout.glob("*/labels/image_*.mat")
    return bool(files) and all((f.parent.parent.name.lower() in _SPLIT) == split for f in files)


def _lizard_info(layout: Layout) -> list[Path]:
    return layout.glob("*/info.csv") if layout.glob(MAPS) else []


def _lizard_records(source: Source, layout: Layout) -> Iterator[Record]:
    splits: dict[str, str] = {}
    for info in _lizard_info(layout):
        table = read_csv(info, ["Filename", "Split"])
        splits |= {name: f"split{part}" for name, part in table.itertuples(index=False)}
    for image, labels in pair(layout.glob("*/lizard_images*/*.png"), layout.glob(MAPS)):
        file = labels or image
        assert file is not None
        read = partial(_read_lizard, image, labels)
        yield Record(file.stem, splits.get(file.stem, ""), file, read)


def _read_lizard(image: Path | None, labels: Path | None) -> AnnotatedImage:
    image, file = both(image, labels)
    instances, ids, classes = read_mat(file, "inst_map", "id", "class")
    if ids.size != classes.size or not np.isin(classes, range(1, len(COLON_TYPES) + 1)).all():
        raise UserError(
            f"{file} does not give every nucleus one of {len(COLON_TYPES)} classes: replace it."
        )
    pairs = zip(ids.ravel().tolist(), classes.ravel().tolist(), strict=True)
    types = {int(label): COLON_TYPES[int(number) - 1] for label, number in pairs}
    return AnnotatedImage(read_image(image)[0], instances, types)


CONSEP = Format(
    name="consep",
    title="CoNSeP (Graham et al. 2019)",
    licence="none stated",
    matches=_is_consep,
    records=partial(instance_records, types=CONSEP_TYPES, part=_folder_part),
    parts=_SPLIT,
    training_parts=("train",),
    types=CONSEP_TYPES,
    common={
        "other": "miscellaneous",
        "inflammatory": "inflammatory",
        "healthy_epithelial": "normal_epithelial",
        "malignant_epithelial": "malignant_epithelial",
        **dict.fromkeys(("fibroblast", "muscle", "endothelial"), "spindle"),
    },
)

CPM15 = Format(
    name="cpm15",
    title="CPM-15 (Vu et al. 2019)",
    licence="none stated",
    matches=partial(_is_cpm, split=False),
    records=instance_records,
)

CPM17 = Format(
    name="cpm17",
    title="CPM-17 (Vu et al. 2019)",
    licence="none stated",
    matches=partial(_is_cpm, split=True),
    records=partial(instance_records, part=_folder_part),
    parts=_SPLIT,
    training_parts=("train",),
)

LIZARD = Format(
    name="lizard",
    title="Lizard (Graham et al. 2021)",
    licence="CC BY-NC-SA 4.0",
    matches=lambda layout: bool(_lizard_info(layout)),
    records=_lizard_records,
    parts=("split1", "split2", "split3"),
    training_parts=("split1", "split2"),
    types=COLON_TYPES,
    common=COLON_COMMON,
    mpp=0.5,
)
