"""eU-Net3+ and U-Net 3+, alone or fused with SAM."""

from napari_nucleus.models.eunet3plus.model import SamUNet3Plus, UNet3Plus

__all__ = ["SamUNet3Plus", "UNet3Plus"]
