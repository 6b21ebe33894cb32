"""MSA-Net: a ViT, CLIP, text and a graph of nuclei."""

from napari_nucleus.models.msanet.model import MSANet

__all__ = ["MSANet"]
