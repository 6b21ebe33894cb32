"""Dataset formats: how each is recognised, and how its images are read."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_nucleus.datasets.formats.files import Layout
from napari_nucleus.datasets.source import Source
from napari_nucleus.measure import DEFAULT_MPP

COMMON_TYPES = (
    "malignant_epithelial",
    "normal_epithelial",
    "inflammatory",
    "spindle",
    "miscellaneous",
)
"""Types onto which datasets with different classes are mapped to be learned together: those into
which the HistoNeXt paper merges CoNSeP's seven."""


class AnnotatedImage(NamedTuple):
    """An image with its annotation, as published.

    Attributes
    ----------
    image : (H, W, 3) ndarray of uint8
        RGB.
    labels : (H, W) ndarray of int
        0 = background; numbers may be missing.
    types : mapping of int to str
        The dataset's own class name by label; a nucleus without class is left out.
    doubtful : collection of int
        Labels of nuclei whose outline cannot be trusted.
    ignored : (H, W) ndarray of bool or None
        Pixels that were not annotated or are ambiguous; nuclei labelled there count.
    mpp : float or None
        Micrometres per pixel, None where the file gives none.
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
    name : str
        Stem of its file, or another unique name.
    part : str
        Part of the official split; empty where there is none.
    file : Path
        File of its annotation, for messages.
    read : callable
        Function that reads it.
    tissue : str
        Tissue that it shows, where the dataset gives it image by image.
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
    name : str
        Name in a recipe.
    title : str
        Name of the dataset and its paper.
    licence : str
        As the publisher states it.
    matches : callable
        Function that returns whether the files of a folder are laid out like this.
    records : callable
        Function that lists the images of a source.
    parts : tuple of str
        Parts of the official split.
    training_parts : tuple of str
        Those that are read where a source names none; images that belong to no part are read, too.
    types : tuple of str
        Own class names; empty where there are none, or where each folder has its own.
    common : mapping of str to str
        Own class name to one of `COMMON_TYPES`, where there is one.
    find_types : callable or None
        Function that returns the class names of a source, for formats in which each folder has
        its own.
    mpp : float
        Micrometres per pixel, used where neither source nor file gives it.
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
    mpp: float = DEFAULT_MPP
