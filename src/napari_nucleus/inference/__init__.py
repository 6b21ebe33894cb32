"""Inference: an image through a model, tile by tile, to a result."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nucleus.inference.pipeline import Progress, predict_image, segment, segment_steps

__all__ = ["Progress", "predict_image", "segment", "segment_steps"]


def __getattr__(name: str) -> Any:
    """Import the pipeline, and with it torch, when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_nucleus.inference import pipeline

    return getattr(pipeline, name)
