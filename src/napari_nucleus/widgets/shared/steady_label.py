"""Text that changes, and moves nothing below it."""

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel


class SteadyLabel(QLabel):
    """A label that keeps a height of several lines, also with fewer, and grows for more.

    Parameters
    ----------
    lines : int
        Lines to keep.
    """

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._lines = lines
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)

    def heightForWidth(self, a0: int) -> int:
        """Return the height of the text, or of the lines to keep."""
        return max(super().heightForWidth(a0), self._height)

    def sizeHint(self) -> QSize:
        """Return the size of the text, as high as the lines to keep."""
        return super().sizeHint().expandedTo(QSize(0, self._height))

    def minimumSizeHint(self) -> QSize:
        """Return a width of nothing in particular: the text wraps."""
        return QSize(0, self._height)

    @property
    def _height(self) -> int:
        # In the font at present: napari sets its own when the widget comes into the window.
        return self._lines * self.fontMetrics().lineSpacing() + 2 * (self.margin() + 1)
