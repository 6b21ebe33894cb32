"""The outlines of annotated and predicted nuclei."""

import numpy as np
from pytestqt.qtbot import QtBot

from napari_nucleus.widgets.train.prediction_view import PREDICTED, TRUE, PredictionView, outlined


def painted(pixels: np.ndarray, color: str) -> np.ndarray:
    return (pixels == list(bytes.fromhex(color[1:]))).all(-1)


def test_outlines_do_not_hide_each_other() -> None:
    image = np.full((40, 56, 3), 200, np.uint8)
    labels = np.zeros((40, 56), int)
    labels[10:20, 10:30] = 1
    drawn = outlined(image, labels, labels, 560)
    assert drawn.shape == (400, 560, 3)
    inside = labels.repeat(10, 0).repeat(10, 1) > 0
    true, predicted = painted(drawn, TRUE), painted(drawn, PREDICTED)
    assert not (true & inside).any()
    assert not (predicted & ~inside).any()
    assert true.sum() == 2 * (100 + 200)
    assert predicted.sum() == 2 * (100 + 200) - 4
    assert (drawn[~(true | predicted)] == 200).all()


def test_picture_keeps_its_shape(qtbot: QtBot) -> None:
    view = PredictionView()
    qtbot.addWidget(view)
    labels = np.zeros((64, 128), int)
    view.show_nuclei(np.zeros((64, 128, 3), np.uint8), labels, labels)
    pixmap = view.picture.pixmap()
    assert pixmap.width() == 2 * pixmap.height() > 0
