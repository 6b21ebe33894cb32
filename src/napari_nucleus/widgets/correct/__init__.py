"""The widget *Correct nuclei*."""

from napari_nucleus.widgets.correct.widget import CorrectWidget

__all__ = ["CorrectWidget"]
