"""The list of keys."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QGridLayout, QLabel, QWidget

from napari_nucleus.widgets.correcting.keys import KEYS

_WIDTH = 380


class KeysDialog(QDialog):
    """Shows all keys; stays open beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of Correct nuclei")
        grid = QGridLayout(self)
        grid.setColumnMinimumWidth(1, _WIDTH)
        row = 0
        for title, keys in KEYS.items():
            grid.addWidget(QLabel(f"<b>{title}</b>"), row, 0, 1, 2)
            for row, key in enumerate(keys, row + 1):  # noqa: B020
                text = QLabel(key.does)
                text.setWordWrap(True)
                grid.addWidget(QLabel(key.shown), row, 0, Qt.AlignmentFlag.AlignTop)
                grid.addWidget(text, row, 1)
            row += 1
