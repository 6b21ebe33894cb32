"""Training patches: drawn from samples, warped, restained and blurred, in batches."""

from napari_nucleus.augment.preview import preview_sheet, write_preview
from napari_nucleus.augment.sampler import SAMPLINGS, PatchSampler, Sampling
from napari_nucleus.augment.strategies import AUGMENTATIONS, Augmentation, create_augmentation
from napari_nucleus.models.batch import Batch, Crops

__all__ = [
    "AUGMENTATIONS",
    "SAMPLINGS",
    "Augmentation",
    "Batch",
    "Crops",
    "PatchSampler",
    "Sampling",
    "create_augmentation",
    "preview_sheet",
    "write_preview",
]
