"""The layer that shows the nuclei of a run while it goes on."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import LayerList
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap
from qtpy.QtCore import QTimer

from napari_nucleus.nucleus_types import type_colors
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.segment.growing_labels import GrowingLabels
from napari_nucleus.widgets.segment.show import above

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress

_REDRAW = 200
"""Milliseconds between two drawings, at least."""

_REST = 5
"""Times as long as a drawing takes is the window left free for the user, at least."""


class LiveLayer:
    """Shows the nuclei of finished tiles, until it is removed or the user removes it.

    Parameters
    ----------
    image : Image
        The layer that is segmented.
    layers : LayerList
        Those of the viewer.
    shape : tuple of 2 int
        Height and width of the image.
    types : sequence of str
        Classes of the model.
    transform : mapping of str to Any
        Position and scale of the layer (`placement_of`).
    """

    def __init__(
        self,
        image: Image,
        layers: LayerList,
        shape: tuple[int, int],
        types: Sequence[str],
        transform: Mapping[str, Any],
    ) -> None:
        self._image = image
        self._layers = layers
        self._transform = transform
        self._growing = GrowingLabels(shape, types)
        self._layer: Labels | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW)
        self._timer.timeout.connect(self._draw)

    def show(self, progress: "Progress") -> None:
        """Show what was found last, soon; nothing of a single tile, which the result shows."""
        if progress.total < 2:
            return
        if self._layer is None:
            self._layer = self._insert()
        if progress.tile is None or progress.own is None:
            return
        box = self._growing.add(progress.tile, progress.own)
        if box is not None and not self._timer.isActive() and box.meets(_read(self._layer)):
            self._timer.start()

    def remove(self) -> None:
        """Remove the layer."""
        self._timer.stop()
        if self._layer in self._layers:
            self._layers.remove(self._layer)

    def _insert(self) -> Labels:
        levels, types = self._growing.levels, self._growing.types
        colors = ["#00000000", *type_colors(types).values()]
        layer = Labels(
            levels if len(levels) > 1 else levels[0],
            name="nuclei so far",
            multiscale=len(levels) > 1,
            colormap=CyclicLabelColormap(colors=colors),
            opacity=1,
            **self._transform,
        )
        layer.contour = 2
        layer.editable = False
        active = self._layers.selection.active
        self._layers.insert(above(self._image, self._layers), layer)
        self._layers.selection.active = active
        return layer

    def _draw(self) -> None:
        assert self._layer is not None
        started = perf_counter()
        self._layer.refresh(thumbnail=False, highlight=False, extent=False)
        taken = 1000 * (perf_counter() - started)
        self._timer.setInterval(max(_REDRAW, round(_REST * taken)))


def _read(layer: Labels) -> Box:
    """Return what a layer has read of its level, in level-0 pixels."""
    if not layer.multiscale:
        return Box(0, 0, *layer.data.shape[::-1])
    corners = np.add(layer.corner_pixels, ((0, 0), (1, 1)))
    (y0, x0), (y1, x1) = np.ceil(corners * layer.downsample_factors[layer.data_level])
    return Box(int(x0), int(y0), int(x1), int(y1))
