"""The legend of the classes: counts, and what of them is drawn."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QColor, QContextMenuEvent, QMouseEvent, QPainter, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSlider,
    QVBoxLayout,
    QWidget,
)

_SIDE = 12

_HELP = (
    "Click: hide or show. Alt+click: show only this class, or all again. "
    "Double-click: change its colour; this is an edit and can be undone in Correct nuclei."
)


def class_swatch(color: str, shown: bool, side: int = _SIDE) -> QPixmap:
    """Return a square in the colour ``"#rrggbb"`` of a class; an empty frame where it is hidden."""
    swatch = QPixmap(side, side)
    swatch.fill(QColor(color) if shown else QColor(0, 0, 0, 0))
    if not shown:
        painter = QPainter(swatch)
        painter.setPen(QColor(color))
        painter.drawRect(0, 0, side - 1, side - 1)
        painter.end()
    return swatch


def hiding(name: str, types: Iterable[str], hidden: Collection[str]) -> dict[str, set[str]]:
    """Return what can be hidden or shown at a class: the text of a menu to what is hidden then."""
    return {
        "Show" if name in hidden else "Hide": {*hidden} ^ {name},
        "Show only this class": {*types} - {name},
        "Show all classes": set(),
    }


def alone(name: str, types: Iterable[str], hidden: Collection[str]) -> set[str]:
    """Return what is hidden where a class is shown alone, or no longer if it was so before."""
    others = {*types} - {name}
    return set() if others == {*hidden} else others


class Legend(QWidget):
    """One entry per class: colour, name and number of nuclei."""

    hidden_changed = Signal(list)
    """Names of the classes that are not to be drawn."""
    recolored = Signal(str, str)
    """Name of a class, and its new colour ``"#rrggbb"``."""
    filled = Signal(float)
    """Opacity of the interior of nuclei, from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self._types: dict[str, str] = {}
        self._hidden: set[str] = set()
        self.entries: dict[str, LegendEntry] = {}
        self._rows = QVBoxLayout()
        self._rows.setSpacing(2)
        self.fill = QSlider(Qt.Orientation.Horizontal)
        self.fill.setRange(0, 100)
        self.fill.setToolTip("Opacity of the interior of nuclei, in %; 0 draws outlines only")
        self.fill.valueChanged.connect(self._on_fill)
        self._percent = QLabel()
        self._percent.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._percent.setMinimumWidth(self._percent.fontMetrics().horizontalAdvance("100 %"))
        line = QHBoxLayout()
        line.addWidget(QLabel("Fill"))
        line.addWidget(self.fill)
        line.addWidget(self._percent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._rows)
        column.addLayout(line)

    def show_types(
        self, types: Mapping[str, str], counts: Mapping[str, int], hidden: Collection[str]
    ) -> None:
        """Show the classes; entries are replaced only if the classes are others.

        Parameters
        ----------
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        counts : mapping of str to int
            Name to number of nuclei.
        hidden : collection of str
            Names of classes that are not drawn.
        """
        self._types = dict(types)
        self._hidden = set(hidden) & set(types)
        if list(self.entries) != list(types):
            for entry in self.entries.values():
                self._rows.removeWidget(entry)
                entry.hide()
                entry.deleteLater()
            self.entries = {name: LegendEntry(name, self) for name in types}
            for entry in self.entries.values():
                self._rows.addWidget(entry)
        for name, entry in self.entries.items():
            entry.show_class(types[name], counts[name], name not in self._hidden)

    def show_fill(self, opacity: float) -> None:
        """Show the opacity of the interior of nuclei, from 0 to 1."""
        percent = round(100 * opacity)
        self._percent.setText(f"{percent} %")
        if percent != self.fill.value():
            blocked = self.fill.blockSignals(True)
            self.fill.setValue(percent)
            self.fill.blockSignals(blocked)

    def toggle(self, name: str) -> None:
        """Hide a class, or show it again."""
        self._hide(self._hidden ^ {name})

    def solo(self, name: str) -> None:
        """Show only one class, or all again if this is so."""
        self._hide(alone(name, self._types, self._hidden))

    def recolor(self, name: str) -> None:
        """Ask for the colour of a class."""
        color = QColorDialog.getColor(QColor(self._types[name]), self, f"Colour of {name}")
        if color.isValid():
            self.recolored.emit(name, color.name())

    def ask(self, name: str, position: QPoint) -> None:
        """Offer the same for a class as a menu."""
        menu = QMenu(self)
        for text, hidden in hiding(name, self._types, self._hidden).items():
            menu.addAction(text, partial(self._hide, hidden))
        menu.addAction("Colour…", partial(self.recolor, name))
        menu.exec(position)

    def _hide(self, hidden: set[str]) -> None:
        self.hidden_changed.emit([name for name in self._types if name in hidden])

    def _on_fill(self, percent: int) -> None:
        self._percent.setText(f"{percent} %")
        self.filled.emit(percent / 100)


class LegendEntry(QWidget):
    """Colour, name and count of one class, to be clicked."""

    def __init__(self, name: str, legend: Legend) -> None:
        super().__init__()
        self._name = name
        self._legend = legend
        self._pressed = False
        self._swatch = QLabel()
        self.title = QLabel(name.replace("_", " "))
        self.count = QLabel()
        self.setToolTip(f"{name}. {_HELP}")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        row = QGridLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setColumnStretch(1, 1)
        row.addWidget(self._swatch, 0, 0)
        row.addWidget(self.title, 0, 1)
        row.addWidget(self.count, 0, 2, Qt.AlignmentFlag.AlignRight)

    def show_class(self, color: str, count: int, shown: bool) -> None:
        """Show the colour ``"#rrggbb"``, the number of nuclei, and whether they are drawn."""
        self._swatch.setPixmap(class_swatch(color, shown))
        self.count.setText(f"{count:,}")
        for label in (self.title, self.count):
            font = label.font()
            font.setStrikeOut(not shown)
            label.setFont(font)
            label.setEnabled(shown)

    def mousePressEvent(self, a0: QMouseEvent | None) -> None:
        """Begin a click."""
        self._pressed = a0 is not None and a0.button() == Qt.MouseButton.LeftButton

    def mouseReleaseEvent(self, a0: QMouseEvent | None) -> None:
        """Hide or show the class, or with Alt the others."""
        if a0 is None or not self._pressed:  # the end of a double click
            return
        self._pressed = False
        if a0.modifiers() & Qt.KeyboardModifier.AltModifier:
            self._legend.solo(self._name)
        else:
            self._legend.toggle(self._name)

    def mouseDoubleClickEvent(self, a0: QMouseEvent | None) -> None:
        """Ask for another colour; what the first click hid is shown again."""
        if a0 is not None and a0.button() == Qt.MouseButton.LeftButton:
            self._legend.toggle(self._name)
            self._legend.recolor(self._name)

    def contextMenuEvent(self, a0: QContextMenuEvent | None) -> None:
        """Offer the same as a menu."""
        if a0 is not None:
            self._legend.ask(self._name, a0.globalPos())
