"""Training: from samples, by a recipe, to checkpoints."""

from napari_nucleus.training.loop import train, train_steps
from napari_nucleus.training.preview import preview
from napari_nucleus.training.progress import Step
from napari_nucleus.training.split import split

__all__ = ["Step", "preview", "split", "train", "train_steps"]
