"""Show the nuclei of a run in the viewer, beside those of earlier runs."""

from collections.abc import Iterator

import numpy as np
from napari.components import LayerList
from napari.layers import Image, Labels, Layer

from napari_nucleus.results import open_result
from napari_nucleus.widgets.segment.job import Segmentation
from napari_nucleus.widgets.shared.layer_pixels import plane_shape
from napari_nucleus.widgets.shared.layers import (
    journal_size,
    labels_of,
    renew,
    result_of,
    results_of,
)


def open_results(image: Image | None, layers: LayerList) -> list[Labels]:
    """Return the `nuclei` layers of all results of an image as it is now, the latest last."""
    if image is None:
        return []
    found = (labels_of(folder, "nuclei", layers) for folder in results_of(image))
    shape = plane_shape(image)
    return [one for one in found if one is not None and plane_shape(one) == shape]


def painted_labels(nuclei: Labels) -> np.ndarray | None:
    """Return the labels of a layer in which the user has painted, None if they are the result's."""
    folder = result_of(nuclei)
    if folder is None or nuclei.multiscale or nuclei.metadata["edits"] != journal_size(folder):
        return None
    labels, stored = np.asarray(nuclei.data), open_result(folder)
    if labels.shape != stored.shape:
        return None
    height, width = stored.shape
    same = np.array_equal(labels, stored.read_labels(0, 0, width, height))
    return None if same else labels.copy()


def show_steps(found: Segmentation, image: Image, layers: LayerList) -> Iterator[None]:
    """Put the layers of a result above those of earlier ones, or into its own.

    Parameters
    ----------
    found : Segmentation
        The result and its layers.
    image : Image
        The layer that was segmented.
    layers : LayerList
        Those of the viewer.

    Yields
    ------
    None
        Before the window should redraw: napari takes 0.1 s to add a layer, and as much to draw it.
    """
    folder, title = found.result.path, found.title
    several = any(result_of(one) != folder for one in open_results(image, layers))
    image.metadata["results"] = [
        str(path) for path in [*(one for one in results_of(image) if one != folder), folder]
    ]
    image.metadata["result"] = str(folder)
    for new in found.layers:
        shown = labels_of(folder, new.metadata["shows"], layers)
        if shown is None:
            if several:
                new.name = f"{new.name} · {title}"
            new.visible = False
            layers.insert(above(image, layers), new)
            yield
            new.visible = True
        else:
            renew(shown, new)
            if title and shown.name.startswith(f"{new.name} · "):
                shown.name = f"{new.name} · {title}"
        yield
    # The status bar shows the nucleus of the selected layer under the mouse.
    layers.selection.active = labels_of(folder, "nuclei", layers)


def above(image: Image, layers: LayerList) -> int:
    """Return the position above an image, its tissue and all of its results."""
    folders = results_of(image)
    those = [
        layer
        for layer in layers
        if layer is image or is_tissue_of(image, layer) or result_of(layer) in folders
    ]
    return max((layers.index(one) + 1 for one in those), default=len(layers))


def is_tissue_of(image: Image, layer: Layer) -> bool:
    """Tell whether a layer shows the tissue of an image."""
    return layer.metadata.get("tissue of") == image.unique_id
