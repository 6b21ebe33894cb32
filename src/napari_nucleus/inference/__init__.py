"""Inference: an image through a model, tile by tile, to a result."""

from napari_nucleus.inference.pipeline import Progress, predict_image, segment, segment_steps

__all__ = [
    "Progress",
    "predict_image",
    "segment",
    "segment_steps",
]
