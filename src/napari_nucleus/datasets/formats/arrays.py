"""PanNuke and CoNIC: images and instance maps in NumPy files, read through memory maps.

Gamper et al., arXiv:2003.10778; Graham et al., Medical Image Analysis 2024,
doi:10.1016/j.media.2023.103047.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout, map_npy, read_csv, reading
from napari_nucleus.datasets.formats.matlab import COLON_COMMON, COLON_TYPES, majority
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError

PANNUKE_TYPES = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
"""By their channels in ``masks.npy``; a sixth is the background."""

_FOLD = re.compile(r"fold[ _]?([123])\b")


def _maps(file: Path, other: Path, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Map images (N, H, W, 3) and their masks (N, H, W, channels)."""
    images, masks = map_npy(file), map_npy(other)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype.kind not in "uif":
        raise UserError(f"{file} has shape {images.shape}: it needs images (N, H, W, 3).")
    if masks.shape != (*images.shape[:3], channels) or masks.dtype.kind not in "uif":
        raise UserError(
            f"{other} has shape {masks.shape}, its images {images.shape}: they must match, with "
            f"{channels} channels."
        )
    return images, masks


def _pannuke_records(source: Source, layout: Layout) -> Iterator[Record]:
    for file in layout.glob("*/images.npy"):
        part = _fold(layout, file)
        masks = [m for m in layout.glob("*/masks.npy") if _fold(layout, m) == part]
        if not masks:
            raise UserError(f"{file} has no masks.npy of the same fold: unpack the fold again.")
        images = map_npy(file)
        tissues = map_npy(file.with_name("types.npy"))
        if len(tissues) != len(images):
            raise UserError(
                f"{file} has {len(images)} images, its types.npy {len(tissues)} tissues: unpack "
                "the fold again."
            )
        for index, tissue in enumerate(tissues.tolist()):
            read = partial(_read_pannuke, file, masks[0], index)
            name = f"{part}_{index:04d}_{tissue}".lstrip("_")
            yield Record(name, part, masks[0], read, str(tissue))


def _fold(layout: Layout, file: Path) -> str:
    folds = _FOLD.findall(layout.below(file).lower())
    return f"fold{folds[-1]}" if folds else ""


def _read_pannuke(file: Path, other: Path, index: int) -> AnnotatedImage:
    images, masks = _maps(file, other, 6)
    with reading(other, "PanNuke's masks"):
        classes = masks[index, ..., :-1].astype(np.int64)
        areas = np.stack([np.bincount(c.ravel())[c] for c in np.moveaxis(classes, -1, 0)], -1)
    # Numbers repeat between the channels, and a few nuclei overlap: the smaller one is on top.
    top = np.where(classes > 0, areas, classes.size).argmin(-1)
    number = np.take_along_axis(classes, top[..., None], -1)[..., 0]
    labels = np.where(number > 0, number * len(PANNUKE_TYPES) + top, 0)
    nuclei = np.unique(labels[labels > 0]).tolist()
    types = {label: PANNUKE_TYPES[label % len(PANNUKE_TYPES)] for label in nuclei}
    return AnnotatedImage(images[index].astype(np.uint8), labels, types)


def _conic_records(source: Source, layout: Layout) -> Iterator[Record]:
    for file in layout.glob("*/images.npy"):
        other = file.with_name("labels.npy")
        images, _ = _maps(file, other, 2)
        info = file.with_name("patch_info.csv")
        names = [f"{index:04d}" for index in range(len(images))]
        if info.exists():
            names = read_csv(info, ["patch_info"])["patch_info"].tolist()
        if len(names) != len(images):
            raise UserError(
                f"{info} lists {len(names)} patches, {file} has {len(images)}: they must match."
            )
        for index, name in enumerate(names):
            yield Record(name, "", other, partial(_read_conic, file, other, index))


def _read_conic(file: Path, other: Path, index: int) -> AnnotatedImage:
    images, masks = _maps(file, other, 2)
    labels, classes = np.moveaxis(masks[index], -1, 0)
    types = majority(labels, classes, COLON_TYPES, other)
    return AnnotatedImage(images[index].astype(np.uint8), labels, types)


PANNUKE = Format(
    name="pannuke",
    title="PanNuke (Gamper et al. 2020)",
    licence="CC BY-NC-SA 4.0",
    matches=lambda layout: bool(layout.glob("*/images.npy") and layout.glob("*/masks.npy")),
    records=_pannuke_records,
    parts=("fold1", "fold2", "fold3"),
    training_parts=("fold1", "fold2"),
    types=PANNUKE_TYPES,
    common={
        "neoplastic": "malignant_epithelial",
        "inflammatory": "inflammatory",
        "connective": "spindle",
        "dead": "miscellaneous",
        "epithelial": "normal_epithelial",
    },
)

CONIC = Format(
    name="conic",
    title="CoNIC (Graham et al. 2024)",
    licence="CC BY-NC-SA 4.0",
    matches=lambda layout: bool(layout.glob("*/images.npy") and layout.glob("*/labels.npy")),
    records=_conic_records,
    types=COLON_TYPES,
    common=COLON_COMMON,
    mpp=0.5,
)
