"""Whether texts of a dock widget are clipped."""

from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QAbstractButton, QLabel, QScrollArea, QWidget

from napari_nucleus.widgets.shared.dock import Dock


def clipped(dock: Dock) -> list[str]:
    """Return the texts in view that are smaller than they need, or wider than what scrolls."""
    found = []
    for part in dock.findChildren(QWidget):
        if not isinstance(part, QLabel | QAbstractButton) or not part.isVisibleTo(dock):
            continue
        need, left = part.sizeHint(), part.mapTo(dock, QPoint()).x()
        height = part.heightForWidth(part.width()) if part.hasHeightForWidth() else need.height()
        wraps = isinstance(part, QLabel) and part.wordWrap()
        wide = not wraps and part.width() < need.width()
        if wide or part.height() < height or left + part.width() > dock.width():
            found.append(f"{part.text()!r}: {part.size()} for {need}")
    return found


def scrolled_off(dock: Dock) -> int:
    """Return how many pixels of the content are out of view."""
    areas = [one for one in dock.findChildren(QScrollArea) if one.parent() is dock]
    bar = areas[0].verticalScrollBar()
    assert bar is not None
    return bar.maximum()
