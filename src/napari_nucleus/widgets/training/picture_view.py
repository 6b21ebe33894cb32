"""A held-out place, with the nuclei that are there and those that the model sees."""

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from skimage.segmentation import find_boundaries

TRUE, PREDICTED = "#00e5ff", "#ffe119"
"""Colours of outlines that stand out from pink and from violet, and from each other."""

_DETAIL = 560
"""About the pixels of the longer side; outlines are one wide."""

_SIDE = 280
"""Longer side on the screen."""


class PictureView(QWidget):
    """Shows what a model sees."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption = QLabel(
            f'Held out: <b style="color: {TRUE}">annotated</b>, '
            f'<b style="color: {PREDICTED}">predicted</b>'
        )
        self.caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.picture)
        column.addWidget(self.caption)

    def show_nuclei(self, image: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> None:
        """Show an image (H, W, 3), uint8, with the outlines of two label images (H, W)."""
        pixels = outlined(image, true, predicted)
        height, width, _ = pixels.shape
        # the image does not own its pixels, and the pixmap copies them
        shown = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        ratio = self.devicePixelRatioF()
        side = round(_SIDE * ratio)
        pixmap = QPixmap.fromImage(shown).scaled(
            side,
            side,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        pixmap.setDevicePixelRatio(ratio)
        self.picture.setPixmap(pixmap)


def outlined(image: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Enlarge an image, and draw outlines: annotated nuclei from outside, predicted from inside.

    Parameters
    ----------
    image
        Uint8 (H, W, 3).
    true, predicted
        Int (H, W), 0 is background.

    Returns
    -------
    ndarray
        Uint8 (k H, k W, 3).
    """
    factor = max(round(_DETAIL / max(true.shape)), 1)
    image, true, predicted = (
        of.repeat(factor, 0).repeat(factor, 1) for of in (image, true, predicted)
    )
    drawn = image.copy()
    for labels, mode, color in ((true, "outer", TRUE), (predicted, "inner", PREDICTED)):
        drawn[find_boundaries(labels, mode=mode)] = list(bytes.fromhex(color[1:]))
    return drawn
