"""Text that changes, and moves nothing below it."""

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel

_ANY = 10_000
"""Width in pixels in which every text has one line."""

_PADDING = 10
"""Of napari's labels above and below, in pixels."""


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
        metrics = self.fontMetrics()
        # Of one line, with the padding of napari's style.
        first = max(super().heightForWidth(_ANY), metrics.height() + _PADDING)
        return first + (self._lines - 1) * (metrics.lineSpacing() + 1)
