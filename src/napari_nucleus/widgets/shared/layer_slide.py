"""The slide that an image layer shows, whichever way the layer was made."""

import math
from pathlib import Path

from napari.layers import Image

from napari_nucleus.slides import Slide, slide_from_arrays


def layer_mpp(layer: Image) -> float | None:
    """Return the µm per pixel of a layer, None where its unit is not a length."""
    scales = [
        size * (1 * unit).to("um").magnitude
        for size, unit in zip(layer.scale, layer.units, strict=True)
        if unit.is_compatible_with("um")
    ]
    square = len(scales) == 2 and math.isclose(*scales, rel_tol=0.02)
    return float(scales[0]) if square else None


def layer_slide(layer: Image, mpp: float | None) -> Slide:
    """Return the pixels of a layer as a slide, with the path of its file where there is one.

    Raises
    ------
    UserError
        If they are not 8- or 16-bit RGB or greyscale.
    """
    levels = layer.data if layer.multiscale else [layer.data]
    path = layer.metadata.get("path") or layer.source.path
    if not path or not Path(path).is_file():
        return slide_from_arrays(levels, mpp, layer.name)
    return slide_from_arrays(levels, mpp, Path(path).stem.removesuffix(".ome"), path)
