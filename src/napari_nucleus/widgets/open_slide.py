"""Dock widget *Open slide*."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from napari.components import ViewerModel
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
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
from napari_nucleus.slides.formats import SUFFIXES
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.choices import MppField, shrinkable
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.layers import image_layer, is_to_be_made, with_overview
from napari_nucleus.widgets.shared.recent import recent_slides, remember
from napari_nucleus.widgets.shared.scale import show_scale_bar, warn_of_pixels

_THUMBNAIL = 180
_NO_OVERVIEW = "No preview is stored in the file. The image fills in once it is open."
_ENDINGS = " ".join([*(f"*{suffix}" for suffix in SUFFIXES), "zarr.json"])
_FILTER = f"Slides ({_ENDINGS});;All files (*)"


class Choice(NamedTuple):
    """What to open: a file, one of several images in it, and in which colours."""

    path: Path
    scene: str | None = None
    srgb: bool = False


@dataclass(frozen=True)
class Preview:
    """A slide and its thumbnail, or why there is none."""

    choice: Choice
    slide: Slide | None = None
    thumbnail: np.ndarray | None = None
    problem: str = ""


def preview(choice: Choice) -> Preview:
    """Read the slide in a file, and its thumbnail unless all of a large file is read for it."""
    try:
        slide = open_slide(choice.path, scene=choice.scene, srgb=choice.srgb)
        slide = with_overview(slide)
        if is_to_be_made(slide):
            return Preview(choice, slide, problem=_NO_OVERVIEW)
        return Preview(choice, slide, slide.thumbnail(_THUMBNAIL))
    except UserError as error:
        return Preview(choice, problem=str(error))


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
        self._choice: Choice | None = None
        self._slide: Slide | None = None
        self.recent = shrinkable(QComboBox())
        self.browse_button = QPushButton("Browse…")
        self.picture = QLabel()
        self.size_label = QLabel()
        self.levels_label = QLabel()
        self.scene = shrinkable(QComboBox())
        self.srgb = QCheckBox("Convert to sRGB")
        self.mpp = MppField()
        self.open_button = QPushButton("Open")
        self.recent.setToolTip("Slides that were opened before")
        self.browse_button.setToolTip("Choose an image file")
        self.scene.setToolTip("The image to open, of several in the file")
        self.srgb.setToolTip(
            "Convert the scanner's colours by the ICC profile in the file.\n"
            "Models are trained without it."
        )
        self.open_button.setToolTip("Show the slide at its true scale")
        self._lay_out()
        self._fill_recent()
        self._offer(None)
        self._show(Preview(Choice(Path()), problem="Choose a slide to preview."))
        self.recent.activated.connect(lambda index: self.look_at(self.recent.itemData(index)))
        self.browse_button.clicked.connect(self._browse)
        self.scene.activated.connect(self._choose)
        self.srgb.clicked.connect(self._choose)
        self.open_button.clicked.connect(self.open)

    def look_at(self, path: str | Path) -> None:
        """Preview a file, which is read in the background."""
        self._offer(None)
        self._look_at(Choice(Path(path)))

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
        folder = str(self._choice.path.parent) if self._choice else ""
        path, _ = QFileDialog.getOpenFileName(self, "Open slide", folder, _FILTER)
        if path:
            self.look_at(path)

    def _choose(self) -> None:
        """Preview the chosen image of the file, in the chosen colours."""
        if self._choice is not None:
            scene = self.scene.currentText() or None
            self._look_at(Choice(self._choice.path, scene, self.srgb.isChecked()))

    def _look_at(self, choice: Choice) -> None:
        self._choice = choice
        self._show(Preview(choice, problem=f"Reading {choice.path.name}…"))
        in_background(preview, choice, then=self._on_preview)

    def _on_preview(self, found: Preview | Failure) -> None:
        if isinstance(found, Failure):
            raise found.error  # napari shows it with its traceback
        if found.choice != self._choice:  # another one was chosen meanwhile
            return
        if found.slide is not None:
            self._offer(found.slide)
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

    def _offer(self, slide: Slide | None) -> None:
        """Show the choices that a slide leaves, where there are any."""
        names = slide.scenes.names if slide else ()
        self.scene.clear()
        if len(names) > 1:
            self.scene.addItems(names)
            self.scene.setCurrentIndex(slide.scenes.chosen if slide else 0)
        self.facts.setRowVisible(self.scene, len(names) > 1)
        self.srgb.setChecked(slide is not None and slide.srgb)
        self.facts.setRowVisible(self.srgb, slide is not None and slide.profile is not None)

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
        facts = self.facts = QFormLayout()
        facts.addRow("Image", self.scene)
        facts.addRow("Size", self.size_label)
        facts.addRow("Levels", self.levels_label)
        facts.addRow("µm/px", self.mpp)
        facts.addRow("Colours", self.srgb)
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
