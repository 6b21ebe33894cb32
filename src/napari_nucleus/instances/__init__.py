"""From a network's maps to nuclei."""

from .constants import Constants
from .distance import DISTANCE, distance_instances
from .hover import HOVER, hover_instances
from .table import nucleus_table

__all__ = [
    "DISTANCE",
    "HOVER",
    "Constants",
    "distance_instances",
    "hover_instances",
    "nucleus_table",
]
