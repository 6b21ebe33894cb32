"""Segment, correct, retrain and measure nuclei in H&E slides.

What a widget or the command line does is one call here. Each name is imported when it is first
used, so that importing the package costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_nucleus.evaluation import evaluate
    from napari_nucleus.inference import segment
    from napari_nucleus.models import create_model
    from napari_nucleus.retraining.loop import retrain
    from napari_nucleus.slides import open_slide
    from napari_nucleus.teaching import classify, teach
    from napari_nucleus.training import train

__all__ = [
    "classify",
    "create_model",
    "evaluate",
    "open_slide",
    "retrain",
    "segment",
    "teach",
    "train",
]

# PyTorch reads it when it is loaded: the CPU takes over what it cannot compute on Apple's GPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

_HOMES = {
    "classify": "teaching",
    "create_model": "models",
    "evaluate": "evaluation",
    "open_slide": "slides",
    "retrain": "retraining.loop",
    "segment": "inference",
    "teach": "teaching",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
