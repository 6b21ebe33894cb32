"""The networks, one file per paper, and the registry that names them."""

from napari_nucleus.models import histonext as histonext
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.registry import create_model, list_models

__all__ = ["NucleusModel", "create_model", "list_models"]
