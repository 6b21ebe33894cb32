"""The frame of every dock widget: scrolling content, tabs, and help."""

from importlib.resources import files

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDialog,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QScrollArea,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

_WIDTH = 340
"""Smallest width of a dock widget in pixels that cuts off neither its title nor its texts."""

LINK = "#3d9be9"
"""Colour of links that can be read on napari's dark and light themes; Qt's own blue cannot."""

_HEIGHT = 120
"""Smallest height of the content in pixels."""

_HELP_SIZE = 520, 560


class Dock(QWidget):
    """Base of the dock widgets. Those of one window share tabs.

    Parameters
    ----------
    title : str
        Section of the help.

    Attributes
    ----------
    content : QWidget
        What scrolls; a subclass lays it out.
    footer : QHBoxLayout
        Row below it, always in view, with a link to the help.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self.content = QWidget()
        self.footer = QHBoxLayout()
        self.help_link = QLabel(f'<a href="help" style="color: {LINK}">Help</a>')
        self.help_link.setToolTip(f"How to use {title}")
        self.help_link.linkActivated.connect(self.show_help)
        self.footer.addStretch()
        self.footer.addWidget(self.help_link, 0, Qt.AlignmentFlag.AlignBottom)
        self.footer.setContentsMargins(9, 0, 9, 0)
        scroll = _VerticalScrollArea()
        scroll.setWidget(self.content)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 4)
        column.addWidget(scroll)
        column.addLayout(self.footer)
        # After napari has added the dock to the window.
        self._placement = QTimer(self)
        self._placement.setSingleShot(True)
        self._placement.timeout.connect(self._join_tabs)
        self._placed = False

    def show_help(self) -> QDialog:
        """Show the help beside the work."""
        dialog = QDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(f"Help: {self._title}")
        text = QTextBrowser()
        text.setMarkdown(help_on(self._title))
        QVBoxLayout(dialog).addWidget(text)
        dialog.resize(*_HELP_SIZE)
        dialog.show()
        return dialog

    def showEvent(self, a0: QShowEvent | None) -> None:
        """Join the tabs when the dock is new; it stays where the user moves it later."""
        super().showEvent(a0)
        if not self._placed:
            self._placed = True
            self._placement.start()

    def _join_tabs(self) -> None:
        dock, window = _dock_of(self), self.window()
        if dock is None or not isinstance(window, QMainWindow):
            return
        dock.setWindowTitle(self._title.split()[0])  # of its tab; longer ones are cut off
        area = window.dockWidgetArea(dock)
        others = (_dock_of(one) for one in window.findChildren(Dock) if one is not self)
        for other in others:
            if other is None or other.isFloating() or window.dockWidgetArea(other) != area:
                continue
            if dock not in window.tabifiedDockWidgets(other):
                window.tabifyDockWidget(other, dock)
            dock.raise_()
            return


class _VerticalScrollArea(QScrollArea):
    """Scrolls up and down, and is wide enough for its content."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def minimumSizeHint(self) -> QSize:
        """Return the width of content and scroll bar."""
        content, bar = self.widget(), self.verticalScrollBar()
        assert content is not None
        assert bar is not None
        width = content.minimumSizeHint().width() + bar.sizeHint().width()
        return QSize(max(width, _WIDTH), min(content.minimumSizeHint().height(), _HEIGHT))

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Widen when the content does."""
        if a0 is self.widget() and a1 is not None and a1.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(a0, a1)


def help_on(title: str) -> str:
    """Return the section of the help on a dock widget, in Markdown."""
    text = files("napari_nucleus.widgets").joinpath("help.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in text.removeprefix("# ").split("\n# "))
    return f"# {title}\n{sections[title]}"


def _dock_of(widget: QWidget) -> QDockWidget | None:
    parent: QObject | None = widget.parent()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parent()
    return parent
