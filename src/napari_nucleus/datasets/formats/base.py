"""What a dataset format is: how it is told from others, and how its images are read."""

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
"""The types onto which sets with different classes are mapped, to be learned together. They are
those into which the HistoNeXt paper merges CoNSeP's seven."""


class AnnotatedImage(NamedTuple):
    """An image with its annotation, as published.

    Attributes
    ----------
    image : (H, W, 3) ndarray of uint8
        RGB.
    labels : ndarray
        (H, W) whole numbers, 0 = background; numbers may be missing.
    types : mapping of int to str
        The set's own class name by number of the nucleus; a nucleus without class is left out.
    doubtful : collection of int
        Numbers of nuclei without an outline that can be trusted.
    ignored : (H, W) ndarray of bool or None
        Where nobody looked or could tell; nuclei that are labelled there count.
    mpp : float or None
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
    name : str
        Stem of its file, or what tells it from the others.
    part : str
        Part of the official split; empty where there is none.
    file : Path
        Where its annotation comes from, for messages.
    read : callable
        Reads it.
    tissue : str
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
    name : str
        What a recipe calls it.
    title : str
        Name of the dataset and its paper.
    licence : str
        As the publisher states it.
    matches : callable
        Whether a folder's files are laid out like this.
    records : callable
        Lists the images of a source.
    parts : tuple of str
        Parts of the official split.
    training_parts : tuple of str
        Those that are read where a source names none; images that belong to no part are read, too.
    types : tuple of str
        Own class names; empty where there are none, or where each folder has its own.
    common : mapping of str to str
        Own class name to one of `COMMON_TYPES`, where there is one.
    find_types : callable or None
        Own class names of a source, for formats in which each folder has its own.
    mpp : float
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
    mpp: float = DEFAULT_MPP
