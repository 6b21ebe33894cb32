"""The scale of layers whose pixel size the user enters, and the scale bar."""

import math
from collections.abc import Iterable

import napari
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning

from napari_nucleus.widgets.shared.layers import result_of, results_of


def give_scale(viewer: ViewerModel, image: Image, mpp: float) -> None:
    """Place an image without a pixel size in micrometres, with what lies on it, and the view.

    Stacks, and images whose unit is a length, stay as they are. Other images have pixel sizes of
    their own, and so do their results; those that are still in pixels are named.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Image
        One of its layers.
    mpp : float
        µm per pixel.
    """
    if image.ndim != 2 or not _in_pixels(image) or not math.isclose(*image.scale):
        return
    factor = mpp / float(image.scale[0])
    folders = {None, *results_of(image)}
    on_it = [
        one
        for one in viewer.layers
        if one.ndim == 2 and not isinstance(one, Image)
        if _in_pixels(one) and result_of(one) in folders
    ]
    for layer in (image, *on_it):
        layer.scale = factor * layer.scale
        layer.translate = factor * layer.translate
        layer.affine.translate = factor * layer.affine.translate
        layer.units = ("um", "um")
    image.metadata["mpp"] = mpp
    camera = viewer.scene.camera
    camera.center = tuple(factor * position for position in camera.center)
    camera.zoom /= factor
    show_scale_bar(viewer)


def show_scale_bar(viewer: ViewerModel | None = None) -> None:
    """Show the scale bar, and name images that are in pixels beside others in micrometres.

    Parameters
    ----------
    viewer : ViewerModel or None
        The viewer; None takes the current one, if any.
    """
    viewer = viewer or napari.current_viewer()
    if viewer is None:
        return
    viewer.canvas.overlays.scale_bar.visible = True
    warn_of_pixels(viewer.layers)


def warn_of_pixels(layers: Iterable[Layer]) -> None:
    """Name images that are in pixels beside others in micrometres."""
    images = [one for one in layers if isinstance(one, Image)]
    unscaled = [one.name for one in images if _in_pixels(one)]
    if unscaled and len(unscaled) < len(images):
        show_warning(
            f"{', '.join(unscaled)}: pixel size unknown, drawn as 1 µm/px beside images at their "
            "true scale. Enter the µm/px in Segment nuclei."
        )


def _in_pixels(layer: Layer) -> bool:
    return all(str(unit) == "pixel" for unit in layer.units)
