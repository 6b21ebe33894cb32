"""The widget *Train model*."""

from napari_nucleus.widgets.train.widget import TrainWidget

__all__ = ["TrainWidget"]
