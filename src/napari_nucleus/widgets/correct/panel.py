"""The tools and lists that are there while a result is corrected."""

from collections.abc import Callable, Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.widgets.correct.class_list import TypeList
from napari_nucleus.widgets.correct.controller import Correcting
from napari_nucleus.widgets.correct.keys import KeysDialog
from napari_nucleus.widgets.correct.review_box import CheckBox
from napari_nucleus.widgets.correct.sam_box import SamBox
from napari_nucleus.widgets.correct.tools import Tool
from napari_nucleus.widgets.correct.workspace import Desk

_ZOOM = 1.5


class CorrectingPanel(QWidget):
    """Shows what is chosen, counted and checked, and hands on what is pressed."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self.tools = ToolButtons()
        self.hint = QLabel()
        self.sam = SamBox()
        self.types = TypeList()
        self.check = CheckBox()
        self.region_button = QPushButton("Correct what I see")
        self.region_button.setToolTip("In place of the region in the white frame (O)")
        self.review_button = QPushButton("Mark what I see as reviewed")
        self.review_button.setToolTip("Every nucleus in view was seen: it may train a model (M)")
        self.zoom_in_button = QPushButton("Zoom in")
        self.zoom_out_button = QPushButton("Zoom out")
        self.keys_button = QPushButton("Keys…")
        self.keys = KeysDialog(self)
        self._lay_out()
        self._connect()

    def use(self, desk: Desk | None) -> None:
        """Show a result that is laid out for correction, or none."""
        self._desk = desk
        if desk is not None:
            self.setEnabled(not desk.correcting.session.read_only)
            self.region_button.setVisible(not desk.correcting.layers.all_there)
            desk.correcting.changed.append(self._show)
            self._show()

    def _show(self) -> None:
        if self._desk is None:
            return
        correcting = self._desk.correcting
        session = correcting.session
        tool = correcting.tool
        self.tools.show_state(tool, session.can_undo, session.can_redo)
        kind = correcting.kind.replace("_", " ")
        becomes = f" It becomes {kind}." if tool is Tool.CLASSIFY else ""
        self.hint.setText(tool.hint + becomes)
        self.sam.setVisible(tool is Tool.ADD)
        regions = len(session.reviewed)
        marked = f" ({regions} so far)" if regions else ""
        self.review_button.setText(f"Mark what I see as reviewed{marked}")
        self.types.show_types(
            session.types, correcting.counts, list(session.types).index(correcting.kind)
        )
        self.check.show_queue(correcting.queue, correcting.checked_row)

    def _connect(self) -> None:
        self.tools.taken.connect(self._calling(Correcting.take))
        self.tools.undo_button.clicked.connect(self._calling(lambda one, _: one.undo()))
        self.tools.redo_button.clicked.connect(self._calling(lambda one, _: one.redo()))
        self.types.chosen.connect(self._calling(Correcting.choose))
        self.types.added.connect(
            self._calling(lambda one, name: one.do(one.session.add_type, name))
        )
        self.types.renamed.connect(
            self._calling(lambda one, *names: one.do(one.session.rename_type, *names))
        )
        self.types.recolored.connect(
            self._calling(lambda one, *what: one.do(one.session.recolor_type, *what))
        )
        self.types.removed.connect(
            self._calling(lambda one, name: one.do(one.session.remove_type, name))
        )
        self.check.switched.connect(self._calling(Correcting.check))
        for button, action in (
            (self.check.back_button, Correcting.go_back),
            (self.check.next_button, Correcting.go_on),
            (self.check.accept_button, Correcting.accept),
            (self.check.delete_button, Correcting.delete),
            (self.region_button, Correcting.open_visible),
            (self.review_button, Correcting.mark_visible),
        ):
            button.clicked.connect(self._calling(lambda one, _, action=action: action(one)))
        self.zoom_in_button.clicked.connect(lambda: self._zoom(_ZOOM))
        self.zoom_out_button.clicked.connect(lambda: self._zoom(1 / _ZOOM))
        self.keys_button.clicked.connect(self.keys.show)

    def _calling(self, action: Callable[..., object]) -> Callable[..., None]:
        """Return a slot that does something with the result, and gives the keys to its layer."""

        def slot(*values: object) -> None:
            if self._desk is not None:
                self._desk.choose_layer()
                action(self._desk.correcting, *values)

        return slot

    def _zoom(self, factor: float) -> None:
        if self._desk is not None:
            self._desk.view.zoom_by(factor)

    def _lay_out(self) -> None:
        self.hint.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        rows = (self.tools, self.hint, self.sam, self.types, self.check)
        for widget in (*rows, self.region_button, self.review_button):
            column.addWidget(widget)
        grid = QGridLayout()
        grid.setSpacing(4)
        buttons = (self.zoom_in_button, self.zoom_out_button, self.keys_button)
        for place, button in enumerate(buttons):
            grid.addWidget(button, 0, place)
        column.addLayout(grid)
        for button in (self.region_button, self.review_button, *buttons):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)


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
