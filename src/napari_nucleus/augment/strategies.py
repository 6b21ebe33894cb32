"""Augmentation by name: what the papers do to their patches, and what we do to ours.

Every augmentation warps the cut images and labels at once, computes the distance maps of the warped
labels, and changes colours and sharpness of the images last. It runs on the device of what it is
given; what it draws comes from PyTorch's global generator.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches

import kornia.augmentation as K
import torch
from torch import Tensor, nn

from napari_nucleus.augment.appearance import Coarsen, Compress, Noise, Sharpen, Sometimes
from napari_nucleus.augment.geometry import Elastic, Geometry, warp_images, warp_labels
from napari_nucleus.augment.stain import StainFade, StainJitter, StainMix
from napari_nucleus.augment.targets import hv_targets
from napari_nucleus.errors import UserError
from napari_nucleus.models.batch import Batch, Crops
from napari_nucleus.models.stain_normalization import StainNormalization
from napari_nucleus.nucleus_types import UNKNOWN

_CONTEXT = 24
"""Pixels around a patch in which its nuclei are seen whole before their centroids are taken."""


@dataclass(frozen=True)
class Strategy:
    """Settings of an augmentation.

    Attributes
    ----------
    geometry : Geometry
        How patches are warped.
    appearance : tuple[Callable[[], nn.Module], ...]
        Makers of what changes the images, in this order.
    jitter : bool
        Whether patches are cut at random places rather than on the sampler's grid.
    """

    geometry: Geometry
    appearance: tuple[Callable[[], nn.Module], ...] = ()
    jitter: bool = True


class Augmentation(nn.Module):
    """Turns crops into what the network learns from.

    Parameters
    ----------
    strategy : Strategy
        What to do.
    patch : int
        Side of the patches in pixels, any number.

    Attributes
    ----------
    margin
        Pixels that the crops must have around a patch.
    jitter
        Whether they should be cut at random places; see `Strategy`.
    """

    def __init__(self, strategy: Strategy, patch: int) -> None:
        super().__init__()
        self.geometry = strategy.geometry
        self.appearance = nn.Sequential(*(make() for make in strategy.appearance))
        self.patch = patch
        self.margin = self.geometry.reach(patch + 2 * _CONTEXT) - patch // 2
        self.jitter = strategy.jitter

    @torch.no_grad()
    def forward(self, crops: Crops) -> Batch:
        """Augment crops.

        Parameters
        ----------
        crops : Crops
            At least `margin` wider than the patch to every side.

        Raises
        ------
        ValueError
            If they are smaller.
        """
        batch, side, _ = crops.labels.shape
        device = crops.labels.device
        if side < self.patch + 2 * self.margin:
            raise ValueError(f"Crops of {side} px lack the margin of {self.margin} px.")
        inner = slice(_CONTEXT, -_CONTEXT)
        grid = self.geometry.grid(batch, self.patch + 2 * _CONTEXT, device)
        labels = warp_labels(crops.labels, grid)
        hv = hv_targets(labels.clamp(min=0))[..., inner, inner]
        labels = labels[:, inner, inner]
        seen, labels = labels >= 0, labels.clamp(min=0)
        images = warp_images(crops.images, grid[:, inner, inner])
        types, doubtful = _of(crops.types, labels), _of(crops.doubtful, labels)
        return Batch(
            images=self.appearance(images).clamp(0, 1),
            np=(labels > 0).long(),
            hv=hv.contiguous(),
            tp=torch.where(types == UNKNOWN, 0, types).long(),
            seen=seen,
            shaped=seen & ~doubtful,
            typed=seen & (types != UNKNOWN),
            labels=labels,
            names=crops.names,
        )


def _of(table: Tensor, labels: Tensor) -> Tensor:
    """Look up labels (B, P, P) in a table (B, N + 1)."""
    return table.gather(1, labels.flatten(1).long()).view(labels.shape)


def he_channels() -> nn.Module:
    """Change haematoxylin and eosin independently, in 8 of 10 images.

    By a factor of 0.95 to 1.05 and ±8 of 255 of optical density: the paper shifts 8-bit
    intensities, and where there is little stain, a 255th of density is a grey level.
    """
    return Sometimes(0.8, StainJitter(scale=0.05, shift=8 / 255, turn=0, residual=False))


def optics() -> nn.Module:
    """Blur 3 of 10 images by up to half a pixel or add noise of up to 0.025 × 255 grey levels."""
    blur = K.RandomGaussianBlur((3, 3), (0.05, 0.5), p=1)  # a sigma of 0 would divide by it
    return Sometimes(0.3, blur, Noise(0.025))


def local_contrast() -> nn.Module:
    """Apply CLAHE, gamma and sharpening to 4 of 10 images.

    CLAHE has OpenCV's 8 × 8 tiles. imgaug's sharpening of 0 to 0.2 adds as many times 8 times what
    sets a pixel apart from the mean of its neighbours. Pillow counts in 8 / 13 of that, hence a
    factor of up to 1 + 13 × 0.2.
    """
    return Sometimes(
        0.4,
        nn.Sequential(
            K.RandomClahe((1.0, 2.0), p=1), K.RandomGamma((0.9, 1.1), p=1), Sharpen(1 + 13 * 0.2)
        ),
    )


def color_jitter() -> nn.Module:
    """Change brightness, contrast and saturation by up to a fifth, in any order."""
    return K.ColorJitter(0.2, 0.2, 0.2, p=1)


def photometric() -> nn.Module:
    """Change gamma, intensities or local contrast of half of the images."""
    return Sometimes(
        0.5,
        K.RandomGamma((1 / 1.5, 1.0), p=1),
        K.ColorJitter(brightness=0.1, contrast=0.1, p=1),
        K.RandomClahe((1.0, 2.0), p=1),
    )


def appearance() -> nn.Module:
    """Change colours and sharpness as widely as laboratories and scanners differ."""
    return nn.Sequential(
        StainJitter(),
        K.ColorJiggle(brightness=0.12, contrast=0.25, saturation=0.25, hue=0.03, p=0.8),
        K.RandomGamma(gamma=(0.7, 1.4), p=0.4),
        K.RandomGaussianBlur((5, 5), (0.2, 1.2), p=0.3),
        K.RandomGaussianNoise(std=0.02, p=0.3),
    )


def foreign() -> nn.Module:
    """Change colours and sharpness further than the laboratories of a training set tell."""
    return nn.Sequential(
        StainMix(0.5),
        Sometimes(0.8, StainJitter(scale=0.5, shift=0.05, turn=0.1)),
        Sometimes(0.2, StainFade()),
        Sometimes(
            0.6, K.ColorJiggle(brightness=0.15, contrast=0.3, saturation=0.35, hue=0.03, p=1)
        ),
        Sometimes(0.4, K.RandomGamma(gamma=(0.6, 1.6), p=1)),
        Sometimes(0.5, K.RandomGaussianBlur((7, 7), (0.3, 1.5), p=1), Sharpen(3), Coarsen(0.5)),
        Sometimes(0.3, Noise(0.04)),
        Sometimes(0.25, Compress(35)),
    )


_AFFINE = Geometry(scale=(0.9, 1.1), rotation=90, shear=5, flip=True)

AUGMENTATIONS = {
    "none": Strategy(Geometry(), jitter=False),
    "basic": Strategy(_AFFINE),
    "moderate": Strategy(_AFFINE, (he_channels,)),
    "strong": Strategy(_AFFINE, (he_channels, optics)),
    "full": Strategy(replace(_AFFINE, elastic=Elastic()), (he_channels, optics, local_contrast)),
    "msanet": Strategy(Geometry(scale=(0.8, 1.2), rotation=90, flip=True), (color_jitter,)),
    "eunet3plus": Strategy(
        Geometry(scale=(1, 2), rotation=180, flip=True, elastic=Elastic(0.5, 300, 30)),
        (StainNormalization, photometric),
    ),
    "any_lab": Strategy(Geometry(scale=(1 / 1.4, 1.4), rotation=180, flip=True), (appearance,)),
    "foreign_lab": Strategy(Geometry(scale=(1 / 1.4, 1.4), rotation=180, flip=True), (foreign,)),
}
"""Augmentations by name.

``none``, ``basic``, ``moderate``, ``strong`` and ``full`` are the strategies of the HistoNeXt
paper's Table 1 (Chen et al. 2025), each more than the one before. Its baseline crops centres only:
here, patches keep to the sampler's grid. Flips, which the table does not name, belong to ``basic``.
The paper's geometry interpolates by the nearest pixel; here that holds for labels, and images are
interpolated bilinearly, once. Elastic deformation (alpha up to 20, sigma 5) and blur are counted in
pixels, as in imgaug.

``msanet`` is the set of the MSA-Net paper. ``eunet3plus`` is that of the SAM-fused eU-Net3+ paper,
which gives no numbers: angle, enlargement, elastic deformation and gamma are those of the authors'
released code, of whose normalisations (Macenko, Reinhard) it takes the one that needs no stain
estimate of a small patch. ``any_lab`` is ours, for tissue of laboratories never seen.
``foreign_lab`` goes further: colours are mixed between the images of a batch, stains bleach and
turn brown, scans are blurred, sharpened, coarsened and compressed.
"""


def create_augmentation(name: str, patch: int) -> Augmentation:
    """Create an augmentation.

    Parameters
    ----------
    name : str
        A key of `AUGMENTATIONS`.
    patch : int
        Side of the patches in pixels, any number.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in AUGMENTATIONS:
        near = get_close_matches(name, AUGMENTATIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(AUGMENTATIONS)}."
        raise UserError(f"There is no augmentation {name!r}: {hint}")
    return Augmentation(AUGMENTATIONS[name], patch)
