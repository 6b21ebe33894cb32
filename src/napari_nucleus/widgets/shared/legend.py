"""The legend of the classes."""

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

_SIDE = 12


class Legend(QWidget):
    """One row per type: colour, name and number of nuclei."""

    def __init__(self) -> None:
        super().__init__()
        self._rows = QGridLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setColumnStretch(1, 1)

    def show_types(self, types: Mapping[str, str], counts: Mapping[str, int]) -> None:
        """Replace the rows.

        Parameters
        ----------
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        counts : mapping of str to int
            Name to number of nuclei.
        """
        for label in self.findChildren(QLabel):
            self._rows.removeWidget(label)
            label.hide()
            label.deleteLater()
        for row, (name, color) in enumerate(types.items()):
            swatch = QPixmap(_SIDE, _SIDE)
            swatch.fill(QColor(color))
            picture = QLabel()
            picture.setPixmap(swatch)
            count = QLabel(f"{counts[name]:,}")
            self._rows.addWidget(picture, row, 0)
            self._rows.addWidget(QLabel(name.replace("_", " ")), row, 1)
            self._rows.addWidget(count, row, 2, Qt.AlignmentFlag.AlignRight)
