"""Tissue to try the plugin on."""

from typing import Any

from skimage.data import immunohistochemistry

from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.widgets.layers import image_layer


def tissue() -> list[tuple[Any, dict, str]]:
    """Return colon stained with haematoxylin and DAB, a picture that scikit-image brings along.

    Its µm/px is documented nowhere; the smallest nuclei, of about 6 µm, are 12 pixels wide.
    """
    slide = slide_from_arrays([immunohistochemistry()], mpp=0.5, name="colon")
    return [image_layer(slide).as_layer_data_tuple()]
