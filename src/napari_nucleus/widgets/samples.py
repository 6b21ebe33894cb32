"""Sample images."""

from typing import Any

from napari_nucleus.slides.examples import colon
from napari_nucleus.widgets.shared.layers import image_layer
from napari_nucleus.widgets.shared.scale import show_scale_bar


def tissue() -> list[tuple[Any, dict, str]]:
    """Return an image of colon; see `colon`."""
    show_scale_bar()
    return [image_layer(colon()).as_layer_data_tuple()]
