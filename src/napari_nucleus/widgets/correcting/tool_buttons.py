"""Buttons for the tools, undo and redo."""

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QWidget

from napari_nucleus.widgets.correcting.tools import Tool

_COLUMNS = 3


class ToolButtons(QWidget):
    """One button per tool, of which one is down, and one each for undo and redo."""

    taken = Signal(object)
    """The `Tool` whose button was pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.undo_button = QPushButton("Undo")
        self.redo_button = QPushButton("Redo")
        self.buttons: Mapping[Tool, QPushButton] = {tool: _button(tool) for tool in Tool}
        group = QButtonGroup(self)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for tool, button in self.buttons.items():
            group.addButton(button)
            button.clicked.connect(lambda _, tool=tool: self.taken.emit(tool))
        everything = [*self.buttons.values(), self.undo_button, self.redo_button]
        for place, button in enumerate(everything):
            # Keys go to the canvas, unless a person walks through the buttons with Tab.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            grid.addWidget(button, *divmod(place, _COLUMNS))

    def show_state(self, tool: Tool, undo: str, redo: str) -> None:
        """Show the tool in hand, and what can be undone and redone, empty for nothing."""
        self.buttons[tool].setChecked(True)
        for button, word, what, key in (
            (self.undo_button, "Undo", undo, "Ctrl+Z"),
            (self.redo_button, "Redo", redo, "Ctrl+Shift+Z"),
        ):
            button.setEnabled(bool(what))
            button.setToolTip(f"{word} {what} ({key})" if what else f"Nothing to {word.lower()}")


def _button(tool: Tool) -> QPushButton:
    button = QPushButton(f"{tool.title}  {tool.key}")
    button.setCheckable(True)
    button.setToolTip(f"{tool.hint} (key {tool.key})")
    return button
