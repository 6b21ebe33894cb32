"""Annotated images, in the form in which their publishers hand them out, become samples."""

from napari_nucleus.datasets.folder import image_files
from napari_nucleus.datasets.format import COMMON_TYPES, Format
from napari_nucleus.datasets.formats import FORMATS
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
