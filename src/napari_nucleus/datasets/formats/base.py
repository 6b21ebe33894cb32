"""What a dataset format is: how it is told from others, and how its images are read."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_nucleus.datasets.formats.files import Layout
from napari_nucleus.datasets.source import Source

COMMON_TYPES = (
    "malignant_epithelial",
    "normal_epithelial",
    "inflammatory",
    "spindle",
    "miscellaneous",
)
"""The types onto which sets with different classes are mapped, to be learned together. They are
those into which the HistoNeXt paper merges CoNSeP's seven."""


class AnnotatedImage(NamedTuple):
    """An image with its annotation, as published.

    Attributes
    ----------
    image
        Uint8 (H, W, 3), RGB.
    labels
        (H, W) whole numbers, 0 = background; numbers may be missing.
    types
        The set's own class name by number of the nucleus; a nucleus without class is left out.
    doubtful
        Numbers of nuclei without an outline that can be trusted.
    ignored
        Bool (H, W), where nobody looked or could tell; nuclei that are labelled there count.
    mpp
        Micrometres per pixel, where the file tells.
    """

    image: np.ndarray
    labels: np.ndarray
    types: Mapping[int, str] = {}
    doubtful: Collection[int] = ()
    ignored: np.ndarray | None = None
    mpp: float | None = None


class Record(NamedTuple):
    """An image of a dataset, not yet read.

    Attributes
    ----------
    name
        Stem of its file, or what tells it from the others.
    part
        Part of the official split; empty where there is none.
    file
        Where its annotation comes from, for messages.
    read
        Reads it.
    tissue
        What it shows, where the dataset tells it image by image.
    """

    name: str
    part: str
    file: Path
    read: Callable[[], AnnotatedImage]
    tissue: str = ""


@dataclass(frozen=True)
class Format:
    """How a publisher, or a program, lays out annotated images.

    Attributes
    ----------
    name
        What a recipe calls it.
    title
        Name of the dataset and its paper.
    licence
        As the publisher states it.
    matches
        Whether a folder's files are laid out like this.
    records
        Lists the images of a source.
    parts
        Parts of the official split.
    training_parts
        Those that are read where a source names none; images that belong to no part are read, too.
    types
        Own class names; empty where there are none, or where each folder has its own.
    common
        Own class name to one of `COMMON_TYPES`, where there is one.
    find_types
        Own class names of a source, for formats in which each folder has its own.
    mpp
        Micrometres per pixel, where neither source nor file says.
    """

    name: str
    title: str
    licence: str
    matches: Callable[[Layout], bool]
    records: Callable[[Source, Layout], Iterable[Record]]
    parts: tuple[str, ...] = ()
    training_parts: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    common: Mapping[str, str] = field(default_factory=dict)
    find_types: Callable[[Source, Layout], Iterable[str]] | None = None
    mpp: float = 0.25
