"""Datasets: annotated images, as published or one's own, read into samples."""

from napari_nucleus.datasets.formats.base import COMMON_TYPES, Format
from napari_nucleus.datasets.formats.folder import image_files
from napari_nucleus.datasets.formats.registry import FORMATS
from napari_nucleus.datasets.labels import read_labels, read_types, type_index
from napari_nucleus.datasets.loading import find_types, iter_source, load_source
from napari_nucleus.datasets.sample import Sample
from napari_nucleus.datasets.source import Source, is_held_out

__all__ = [
    "COMMON_TYPES",
    "FORMATS",
    "Format",
    "Sample",
    "Source",
    "find_types",
    "image_files",
    "is_held_out",
    "iter_source",
    "load_source",
    "read_labels",
    "read_types",
    "type_index",
]
