"""Slides: any image as a pyramid of lazily read levels, and the tiles of it."""

from napari_nucleus.slides.opening import is_slide_folder, open_slide, slides_in
from napari_nucleus.slides.pixel_size import check_mpp
from napari_nucleus.slides.slide import Slide, slide_from_arrays

__all__ = ["Slide", "check_mpp", "is_slide_folder", "open_slide", "slide_from_arrays", "slides_in"]
