"""A validation region with its annotated and its predicted nuclei."""

import cv2
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget
from skimage.segmentation import find_boundaries

TRUE, PREDICTED = "#00e5ff", "#ffe119"
"""Colours of outlines that stand out from pink and from violet, and from each other."""

_SIDE = 264
"""Longer side on the screen."""


class PredictionView(QWidget):
    """Shows the outlines of annotated and predicted nuclei."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption = QLabel(
            f'Validation: <b style="color: {TRUE}">annotated</b>, '
            f'<b style="color: {PREDICTED}">predicted</b>'
        )
        self.caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.picture)
        column.addWidget(self.caption)

    def show_nuclei(self, image: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> None:
        """Show an image (H, W, 3), uint8, with the outlines of two label images (H, W)."""
        ratio = self.devicePixelRatioF()
        pixels = outlined(image, true, predicted, round(_SIDE * ratio))
        height, width, _ = pixels.shape
        # the image does not own its pixels, and the pixmap copies them
        shown = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        pixmap = QPixmap.fromImage(shown)
        pixmap.setDevicePixelRatio(ratio)
        self.picture.setPixmap(pixmap)


def outlined(image: np.ndarray, true: np.ndarray, predicted: np.ndarray, side: int) -> np.ndarray:
    """Resize an image and draw outlines: outside annotated nuclei, inside predicted ones.

    Parameters
    ----------
    image : (H, W, 3) ndarray of uint8
        RGB image.
    true, predicted : (H, W) ndarray of int
        Label images; 0 is background.
    side : int
        Pixels of the longer side of the picture.

    Returns
    -------
    (h, w, 3) ndarray of uint8
        RGB; the larger of h and w is `side`.
    """
    height, width = (max(round(length * side / max(true.shape)), 1) for length in true.shape)
    drawn = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    for labels, mode, color in ((true, "outer", TRUE), (predicted, "inner", PREDICTED)):
        resized = cv2.resize(
            labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
        ).astype(int)
        drawn[find_boundaries(resized, mode=mode)] = list(bytes.fromhex(color[1:]))
    return np.asarray(drawn)
