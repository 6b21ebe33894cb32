"""Which part of an image is segmented: its tissue, as it was found or painted, or everything."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_error
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tissue import Tissue, find_tissue
from napari_nucleus.widgets.segment.show import is_tissue_of
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.choices import shrinkable
from napari_nucleus.widgets.shared.layers import placement_of

_FOUND, _EDITED, _ALL = "Found automatically", "As edited", "Whole image"

_COLOR = "#19c37d"
_OPACITY = 0.2

_BRUSH = 20
"""Pixels of the mask, of 8 µm or more, that a brush is wide."""


class TissueChoice(QWidget):
    """A choice, and a button that shows the tissue of an image as a layer to edit.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    slide_of : callable
        Returns the slide of an image layer; raises `UserError`.
    """

    changed = Signal()
    """Another part is chosen."""

    def __init__(self, viewer: ViewerModel, slide_of: Callable[[Image], Slide]) -> None:
        super().__init__()
        self._viewer = viewer
        self._slide_of = slide_of
        self._image: Image | None = None
        self.choice = shrinkable(QComboBox())
        self.choice.addItems([_FOUND, _ALL])
        self.share = QLabel()
        self.show_button = QPushButton("Show")
        self.choice.setToolTip("Glass is left out, unless the whole image is chosen")
        self.share.setToolTip("Share of the image that is tissue")
        self.show_button.setToolTip(
            "Show the tissue as a layer: paint and erase in it what is to be segmented"
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.choice, 1)
        row.addWidget(self.share)
        row.addWidget(self.show_button)
        self.choice.currentIndexChanged.connect(self._on_chosen)
        self.show_button.clicked.connect(self.show_tissue)

    @property
    def is_everything(self) -> bool:
        """Whether glass is segmented, too."""
        return self.choice.currentText() == _ALL

    @property
    def tissue(self) -> Tissue | Literal["all"] | None:
        """What is chosen, as `segment_steps` takes it."""
        if self.is_everything:
            return "all"
        layer = self._layer()
        return None if layer is None else _edited(layer)

    def follow(self, image: Image | None) -> None:
        """Show what is chosen of an image."""
        self._image = image
        self._show_share()

    def show_layers(self, shown: bool) -> None:
        """Offer the layers of tissue, which many images do not have."""
        self.share.setVisible(shown)
        self.show_button.setVisible(shown)
        self._show_share()

    def show_tissue(self) -> None:
        """Find the tissue of the image, in the background, and add its layer."""
        image, layer = self._image, self._layer()
        if layer is not None:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            return
        if image is None:
            show_error("No image: open a slide first.")
            return
        try:
            slide = self._slide_of(image)
        except UserError as error:
            show_error(str(error))
            return
        self.show_button.setEnabled(False)
        self.share.setText("…")
        in_background(_found, slide, image, then=self._on_found)

    def _on_found(self, found: tuple[Tissue, Image] | Failure) -> None:
        self.show_button.setEnabled(True)
        self._show_share()
        if isinstance(found, Failure):
            if not isinstance(found.error, UserError):
                raise found.error
            show_error(str(found.error))
            return
        tissue, image = found
        if image not in self._viewer.layers or _layer_of(image, self._viewer.layers) is not None:
            return
        layer = tissue_layer(tissue, image)
        layers = self._viewer.layers
        layers.insert(layers.index(image) + 1, layer)  # below the nuclei
        for event in (layer.events.paint, layer.events.labels_update, layer.events.data):
            event.connect(self._show_share)
        self._viewer.layers.selection.active = layer
        self._show_share()

    def _layer(self) -> Labels | None:
        return None if self._image is None else _layer_of(self._image, self._viewer.layers)

    def _on_chosen(self) -> None:
        self._show_share()
        self.changed.emit()

    def _show_share(self, event: Any = None) -> None:
        layer = None if self.show_button.isHidden() else self._layer()
        self.show_button.setEnabled(not self.is_everything)
        self.choice.setItemText(0, _EDITED if layer and _edited(layer) else _FOUND)
        share = None if layer is None else np.count_nonzero(layer.data) / layer.data.size
        self.share.setText("" if share is None or self.is_everything else f"{share:.0%}")


def tissue_layer(tissue: Tissue, image: Image) -> Labels:
    """Return tissue as a layer over its image.

    Parameters
    ----------
    tissue : Tissue
        The tissue.
    image : Image
        The layer.
    """
    layer = Labels(
        tissue.mask.astype(np.uint8),
        name="tissue",
        colormap=DirectLabelColormap(color_dict={None: _COLOR, 0: "transparent"}),
        opacity=_OPACITY,
        metadata={"tissue of": image.unique_id, "found": tissue},
        **placement_of(image),
    )
    layer.scale = layer.scale * tissue.downsample
    # The centre of its first pixel is that of the pixels of the image that it covers.
    center = (*(0,) * (image.ndim - 2), *((np.array(tissue.downsample) - 1) / 2))
    away = np.subtract(image.data_to_world(center)[-2:], layer.data_to_world((0, 0)))
    layer.translate = layer.translate + np.linalg.solve(layer.affine.linear_matrix, away)
    layer.brush_size = _BRUSH
    return layer


def _found(slide: Slide, image: Image) -> tuple[Tissue, Image]:
    return find_tissue(slide), image


def _layer_of(image: Image, layers: Iterable[Any]) -> Labels | None:
    """Return the layer of an image's tissue, None without one."""
    return next((one for one in layers if is_tissue_of(image, one)), None)


def _edited(layer: Labels) -> Tissue | None:
    """Return what was made of the tissue that was found, None if it is that."""
    found: Tissue = layer.metadata["found"]
    mask = np.asarray(layer.data) > 0
    return None if np.array_equal(mask, found.mask) else Tissue(mask, found.downsample)
