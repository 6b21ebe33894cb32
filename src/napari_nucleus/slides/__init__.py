"""Slides: any image as a pyramid of lazily read levels, and the tiles of it."""

from napari_nucleus.slides.pixel_size import check_mpp
from napari_nucleus.slides.slide import Slide, open_slide, slide_from_arrays

__all__ = ["Slide", "check_mpp", "open_slide", "slide_from_arrays"]
