"""A validation region with its annotated and its predicted nuclei, and the scores."""

import cv2
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget
from skimage.segmentation import find_boundaries

TRUE, PREDICTED = "#00e5ff", "#ffe119"
"""Colours of outlines that stand out from pink and from violet, and from each other."""

_SIDE = 140
"""Longer side on the screen."""

_SCORES = {"pq": "PQ", "aji": "AJI", "f1d": "Detection F1", "f1": "Classes F1"}


class PredictionView(QWidget):
    """Shows the outlines of annotated and predicted nuclei, and scores before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = QLabel()
        self.picture.setFixedSize(_SIDE + 2, _SIDE + 2)
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setToolTip("Part of a validation region, which is not trained on")
        self.scores = QLabel()
        self.scores.setStyleSheet("font-size: 11px")
        self.scores.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.scores.setToolTip(
            "Scores on the validation regions: PQ and AJI of the segmentation, F1 of the detection "
            "and of the classes.\n"
            "Agreement with the original model (PQ): reference image, not in the training data; "
            "1.000 = unchanged."
        )
        self.caption = QLabel(
            f'<b style="color: {TRUE}">annotated</b><br><b style="color: {PREDICTED}">predicted</b>'
        )
        self.caption.setToolTip("Colours of the outlines")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.picture, 0, 0, 2, 1)
        grid.addWidget(self.scores, 0, 1)
        grid.addWidget(self.caption, 1, 1, Qt.AlignmentFlag.AlignBottom)
        grid.setColumnStretch(1, 1)

    def show_scores(
        self, before: dict[str, float], after: dict[str, float], agreement: float | None = None
    ) -> None:
        """Show scores of the original and of the new model (`score_table`)."""
        self.scores.setText(score_table(before, after, agreement))

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


def score_table(
    before: dict[str, float], after: dict[str, float], agreement: float | None = None
) -> str:
    """Return the scores before and after as HTML.

    Parameters
    ----------
    before, after : dict of str to float
        Scores of both models (`retraining.comparison.overall`).
    agreement : float or None
        Agreement with the original model (PQ); None while it is unknown.
    """
    rows = ["<tr><td></td><td>before</td><td>after</td></tr>"]
    for key, name in _SCORES.items():
        if key in before and key in after:
            rows.append(
                f"<tr><td>{name}</td><td>{before[key]:.3f}</td><td><b>{after[key]:.3f}</b></td></tr>"
            )
    if agreement is not None:
        rows.append(f"<tr><td>Agreement</td><td></td><td><b>{agreement:.3f}</b></td></tr>")
    return f'<table cellspacing="2">{"".join(rows)}</table>'
