"""Sample images."""

from typing import Any

from napari_nucleus.slides.examples import colon
from napari_nucleus.widgets.shared.layers import image_layer


def tissue() -> list[tuple[Any, dict, str]]:
    """Return an image of colon; see `colon`."""
    return [image_layer(colon()).as_layer_data_tuple()]
