"""From a network's maps to nuclei."""

from napari_nucleus.instances.distance import DISTANCE, distance_instances
from napari_nucleus.instances.hover import HOVER, hover_instances
from napari_nucleus.instances.parameters import PostprocessingParameters
from napari_nucleus.instances.table import nucleus_table

__all__ = [
    "DISTANCE",
    "HOVER",
    "PostprocessingParameters",
    "distance_instances",
    "hover_instances",
    "nucleus_table",
]
