"""The networks, one file per paper, and the registry that names them."""

# ruff: noqa: E402
from napari_nucleus.models.native import load_triton

load_triton()  # before timm and torchvision do

from napari_nucleus.models import histonext as histonext
from napari_nucleus.models.base import NucleusModel
from napari_nucleus.models.eunet3plus import model as eunet3plus
from napari_nucleus.models.msanet import model as msanet
from napari_nucleus.models.registry import create_model, list_models

__all__ = ["NucleusModel", "create_model", "list_models"]
