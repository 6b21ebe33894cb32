"""Annotated images, in the form in which their publishers hand them out, become samples."""

from napari_nucleus.datasets.folder import image_files
from napari_nucleus.datasets.labels import read_labels, read_types, type_index
from napari_nucleus.datasets.sample import UNKNOWN, Sample
from napari_nucleus.datasets.source import Source, find_types, is_held_out, load_source

__all__ = [
    "UNKNOWN",
    "Sample",
    "Source",
    "find_types",
    "image_files",
    "is_held_out",
    "load_source",
    "read_labels",
    "read_types",
    "type_index",
]
