"""From a network's maps to nuclei."""

from napari_nucleus.instances.constants import Constants
from napari_nucleus.instances.distance import DISTANCE, distance_instances
from napari_nucleus.instances.hover import HOVER, hover_instances
from napari_nucleus.instances.table import nucleus_table

__all__ = [
    "DISTANCE",
    "HOVER",
    "Constants",
    "distance_instances",
    "hover_instances",
    "nucleus_table",
]
