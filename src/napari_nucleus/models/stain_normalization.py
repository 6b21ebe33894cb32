"""The same colours of H&E in every image, for networks and their augmentation."""

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor, nn


class StainNormalization(nn.Module):
    """Give the tissue of every image the same mean and spread of colour, in CIELAB.

    After Reinhard et al. 2001; glass is left out of the statistics, and contrast is raised or
    lowered by half at most, since a patch may show one stain alone. A network that learned from
    such patches must be given such tiles.
    """

    # lightness, red against green and yellow against blue, as in the tissue of CoNSeP
    mean = (66.0, 25.0, -20.0)
    std = (12.0, 7.0, 8.0)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images, in full precision whatever surrounds it.

        Parameters
        ----------
        images : (B, 3, H, W) Tensor of float
            RGB in [0, 1].

        Returns
        -------
        (B, 3, H, W) Tensor of float
            RGB in [0, 1].
        """
        device = "cpu" if images.is_meta else images.device.type
        with torch.autocast(device, enabled=False):
            return self._normalize(images)

    def _normalize(self, images: Tensor) -> Tensor:
        target, spread = (
            torch.tensor(values, device=images.device).view(1, 3, 1, 1)
            for values in (self.mean, self.std)
        )
        tissue = (images.mean(1, keepdim=True) < 0.85).float()
        pixels = tissue.sum((2, 3), keepdim=True)
        lab = rgb_to_lab(images)
        mean = (lab * tissue).sum((2, 3), keepdim=True) / pixels.clamp(min=1)
        centred = lab - mean
        variance = (centred.square() * tissue).sum((2, 3), keepdim=True) / pixels.clamp(min=1)
        contrast = (spread / variance.sqrt().clamp(min=1)).clamp(2 / 3, 3 / 2)
        return torch.where(pixels > 0, lab_to_rgb(centred * contrast + target), images)
