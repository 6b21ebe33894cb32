"""Colours of H&E: other amounts and hues of the stains."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_nucleus.measure.stain import STAINS


class StainJitter(nn.Module):
    """Restain H&E images: scale and shift each stain, and turn the stains' colours a little.

    After Tellez et al. 2018 (HED augmentation), with the stain vectors themselves perturbed as
    well, since laboratories differ in dyes and scanners as much as in staining time.

    Parameters
    ----------
    scale : float
        Each stain is multiplied by a factor within 1 ± `scale`.
    shift : float
        and shifted within ± `shift` of optical density.
    turn : float
        Standard deviation of the noise on the stain vectors.
    residual : bool
        Whether what is neither haematoxylin nor eosin is scaled and shifted as well.
    """

    stains: Tensor

    def __init__(
        self, scale: float = 0.4, shift: float = 0.03, turn: float = 0.06, residual: bool = True
    ) -> None:
        super().__init__()
        self.scale = scale
        self.shift = shift
        self.turn = turn
        self.changed = 3 if residual else 2
        self.register_buffer("stains", torch.tensor(STAINS, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        batch, device = len(images), images.device
        factor = torch.ones(batch, 3, 1, device=device)
        offset = torch.zeros(batch, 1, 3, device=device)
        drawn = 2 * torch.rand(2, batch, self.changed, device=device) - 1
        factor[:, : self.changed, 0] += self.scale * drawn[0]
        offset[:, 0, : self.changed] += self.shift * drawn[1]
        stains = self.stains + self.turn * torch.randn(batch, 3, 3, device=device)
        stains = F.normalize(stains.clamp(min=0), dim=2) * self.stains.norm(dim=1)[None, :, None]
        # unmixing, changing and mixing again are linear in the density: one matrix an image
        change = torch.linalg.inv(self.stains) @ (factor * stains)
        shift = (offset @ stains).mT
        density = -torch.log(images.clamp(min=1 / 255)).flatten(2)
        restained = torch.exp(-torch.baddbmm(shift, change.mT, density))
        return restained.view_as(images).clamp(0, 1)
