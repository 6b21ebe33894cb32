"""The networks, one file or folder per paper, and the registry that names them."""

# ruff: noqa: E402
from napari_nucleus.models.native import load_triton

load_triton()  # before timm and torchvision do

from napari_nucleus.models import eunet3plus as eunet3plus
from napari_nucleus.models import histonext as histonext
from napari_nucleus.models import msanet as msanet
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.registry import create_model, list_models

__all__ = ["NucleusModel", "create_model", "list_models"]
