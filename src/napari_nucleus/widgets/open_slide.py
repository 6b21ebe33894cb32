"""Dock widget *Open slide*."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, open_slide
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.choices import MppField, shrinkable
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.layers import image_layer, is_to_be_made, with_overview
from napari_nucleus.widgets.shared.recent import recent_slides, remember
from napari_nucleus.widgets.shared.scale import show_scale_bar, warn_of_pixels

_THUMBNAIL = 180
_NO_OVERVIEW = "No preview is stored in the file. The image fills in once it is open."
_FILTER = "Slides (*.svs *.ndpi *.tif *.tiff *.png *.jpg *.jpeg);;All files (*)"


@dataclass(frozen=True)
class Preview:
    """A slide and its thumbnail, or why there is none."""

    path: Path
    slide: Slide | None = None
    thumbnail: np.ndarray | None = None
    problem: str = ""


def preview(path: Path) -> Preview:
    """Read the slide in a file, and its thumbnail unless all of a large file is read for it."""
    try:
        slide = with_overview(open_slide(path))
        if is_to_be_made(slide):
            return Preview(path, slide, problem=_NO_OVERVIEW)
        return Preview(path, slide, slide.thumbnail(_THUMBNAIL))
    except UserError as error:
        return Preview(path, problem=str(error))


class OpenSlideWidget(Dock):
    """Previews a slide and opens it at its true scale.

    Parameters
    ----------
    napari_viewer : ViewerModel
        The viewer for the new layer.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__("Open slide")
        self._viewer = napari_viewer
        self._path: Path | None = None
        self._slide: Slide | None = None
        self.recent = shrinkable(QComboBox())
        self.browse_button = QPushButton("Browse…")
        self.picture = QLabel()
        self.size_label = QLabel()
        self.levels_label = QLabel()
        self.mpp = MppField()
        self.open_button = QPushButton("Open")
        self.recent.setToolTip("Slides that were opened before")
        self.browse_button.setToolTip("Choose an image file")
        self.open_button.setToolTip("Show the slide at its true scale")
        self._lay_out()
        self._fill_recent()
        self._show(Preview(Path(), problem="Choose a slide to preview."))
        self.recent.activated.connect(lambda index: self.look_at(self.recent.itemData(index)))
        self.browse_button.clicked.connect(self._browse)
        self.open_button.clicked.connect(self.open)

    def look_at(self, path: str | Path) -> None:
        """Preview a file, which is read in the background."""
        self._path = Path(path)
        self._show(Preview(self._path, problem=f"Reading {self._path.name}…"))
        in_background(preview, self._path, then=self._on_preview)

    def open(self) -> None:
        """Add the previewed slide as an image layer."""
        if self._slide is None or self._slide.path is None:
            return
        try:
            mpp = self.mpp.mpp
            self._viewer.add_layer(image_layer(replace(self._slide, mpp=mpp)))
            if mpp is None:
                warn_of_pixels(self._viewer.layers)
            else:
                show_scale_bar(self._viewer)
            remember(self._slide.path)
        except UserError as error:
            show_error(str(error))
        self._fill_recent()

    def _browse(self) -> None:
        folder = str(self._path.parent) if self._path else ""
        path, _ = QFileDialog.getOpenFileName(self, "Open slide", folder, _FILTER)
        if path:
            self.look_at(path)

    def _on_preview(self, found: Preview | Failure) -> None:
        if isinstance(found, Failure):
            raise found.error  # napari shows it with its traceback
        if found.path != self._path:  # another file was chosen meanwhile
            return
        self._show(found)
        if found.slide is None:
            show_error(found.problem)

    def _show(self, found: Preview) -> None:
        slide = self._slide = found.slide
        self.open_button.setEnabled(slide is not None)
        self.mpp.setEnabled(slide is not None and slide.mpp is None)
        self.mpp.mpp = slide.mpp if slide else None
        self.size_label.setText(_size(slide) if slide else "–")
        self.levels_label.setText(str(len(slide.levels)) if slide else "–")
        self.picture.setText(found.problem)
        if found.thumbnail is not None:
            self.picture.setPixmap(_pixmap(found.thumbnail))

    def _fill_recent(self) -> None:
        self.recent.clear()
        for path in recent_slides():
            self.recent.addItem(path.name, str(path))
            last = self.recent.count() - 1
            self.recent.setItemData(last, str(path), Qt.ItemDataRole.ToolTipRole)
        self.recent.setEnabled(self.recent.count() > 0)
        self.recent.setPlaceholderText(
            "Recent slides" if self.recent.count() else "No recent slides"
        )
        self.recent.setCurrentIndex(-1)

    def _lay_out(self) -> None:
        self.picture.setFixedHeight(_THUMBNAIL)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setWordWrap(True)
        choice = QHBoxLayout()
        choice.addWidget(self.recent, 1)
        choice.addWidget(self.browse_button)
        facts = QFormLayout()
        facts.addRow("Size", self.size_label)
        facts.addRow("Levels", self.levels_label)
        facts.addRow("µm/px", self.mpp)
        rows = QVBoxLayout(self.content)
        rows.addLayout(choice)
        rows.addWidget(self.picture)
        rows.addLayout(facts)
        rows.addWidget(self.open_button)
        rows.addStretch()


def _size(slide: Slide) -> str:
    height, width = slide.shape
    pixels = f"{width:,} × {height:,} px"
    if slide.mpp is None:
        return pixels
    return f"{pixels}\n{width * slide.mpp / 1000:.2f} × {height * slide.mpp / 1000:.2f} mm"


def _pixmap(rgb: np.ndarray) -> QPixmap:
    height, width, _ = rgb.shape
    data = np.ascontiguousarray(rgb).tobytes()
    return QPixmap.fromImage(QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888))
