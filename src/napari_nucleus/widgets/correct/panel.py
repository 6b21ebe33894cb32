"""The tools and lists that are there while a result is corrected."""

from collections.abc import Callable, Mapping
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.edits import annotations
from napari_nucleus.widgets.correct.class_list import ClassList
from napari_nucleus.widgets.correct.controller import Controller
from napari_nucleus.widgets.correct.keys import KeysDialog
from napari_nucleus.widgets.correct.review_panel import ReviewPanel
from napari_nucleus.widgets.correct.sam_panel import SamPanel
from napari_nucleus.widgets.correct.tools import Tool
from napari_nucleus.widgets.correct.workspace import Workspace
from napari_nucleus.widgets.shared.nucleus_colors import hidden_types
from napari_nucleus.widgets.shared.shown_results import shown_results
from napari_nucleus.widgets.shared.steady_label import SteadyLabel

_ZOOM = 1.5


class CorrectingPanel(QWidget):
    """Shows what is chosen, counted and checked, and hands on what is pressed."""

    def __init__(self) -> None:
        super().__init__()
        self._workspace: Workspace | None = None
        self.tools = ToolButtons()
        self.hint = SteadyLabel(lines=2)
        self.sam = SamPanel()
        self.types = ClassList()
        self.review = ReviewPanel()
        self.region_button = QPushButton("Correct visible area")
        self.region_button.setToolTip("Correct the visible area instead of the framed region (O)")
        self.mark_button = QPushButton("Mark visible area as reviewed")
        self.mark_button.setToolTip(
            "Mark the visible area as fully reviewed, so that it can be used for training (M)"
        )
        self.zoom_in_button = QPushButton("Zoom in")
        self.zoom_out_button = QPushButton("Zoom out")
        self.keys_button = QPushButton("Keys…")
        self.zoom_in_button.setToolTip("Zoom in (=)")
        self.zoom_out_button.setToolTip("Zoom out (-)")
        self.keys_button.setToolTip("Show all keys")
        self.keys = KeysDialog(self)
        self._lay_out()
        self._connect()

    def use(self, workspace: Workspace | None) -> None:
        """Show a result that is laid out for correction, or none."""
        self._workspace = workspace
        if workspace is not None:
            self.setEnabled(not workspace.controller.session.read_only)
            self.region_button.setVisible(not workspace.controller.layers.all_there)
            workspace.controller.review_count = self.review.count.value()
            workspace.controller.changed.append(self._show)
            self._show()

    def _show(self) -> None:
        if self._workspace is None:
            return
        controller = self._workspace.controller
        session = controller.session
        tool = controller.tool
        self.tools.show_state(tool, session.can_undo, session.can_redo)
        type_name = controller.type_name.replace("_", " ")
        becomes = f" New class: {type_name}." if tool is Tool.CLASSIFY else ""
        self.hint.setText(tool.hint + becomes)
        self.sam.setVisible(tool is Tool.ADD)
        regions = len(session.reviewed)
        marked = f" ({regions} so far)" if regions else ""
        self.mark_button.setText(f"Mark visible area as reviewed{marked}")
        self.types.show_types(
            session.types,
            controller.counts,
            list(session.types).index(controller.type_name),
            hidden_types(controller.layers.nuclei),
        )
        self.review.show_queue(controller.queue, controller.current_row)

    def _connect(self) -> None:
        self.tools.taken.connect(self._calling(Controller.take))
        self.tools.undo_button.clicked.connect(self._calling(lambda one, _: one.undo()))
        self.tools.redo_button.clicked.connect(self._calling(lambda one, _: one.redo()))
        self.types.chosen.connect(self._calling(Controller.choose))
        for changed, operation in (
            (self.types.added, annotations.add_type),
            (self.types.renamed, annotations.rename_type),
            (self.types.recolored, annotations.recolor_type),
            (self.types.removed, annotations.remove_type),
        ):
            changed.connect(
                self._calling(lambda one, *values, call=operation: one.apply(call, *values))
            )
        self.types.hidden_changed.connect(self._hide)
        shown_results.changed.connect(self._on_result_changed)
        self.review.switched.connect(self._calling(Controller.review))
        self.review.count.valueChanged.connect(self._set_review_count)
        for button, action in (
            (self.review.back_button, Controller.go_back),
            (self.review.next_button, Controller.go_on),
            (self.review.accept_button, Controller.accept),
            (self.review.delete_button, Controller.delete),
            (self.region_button, Controller.open_visible),
            (self.mark_button, Controller.mark_visible),
        ):
            button.clicked.connect(self._calling(lambda one, _, action=action: action(one)))
        self.zoom_in_button.clicked.connect(lambda: self._zoom(_ZOOM))
        self.zoom_out_button.clicked.connect(lambda: self._zoom(1 / _ZOOM))
        self.keys_button.clicked.connect(self.keys.show)

    def _calling(self, action: Callable[..., object]) -> Callable[..., None]:
        """Return a slot that does something with the result, and gives the keys to its layer."""

        def slot(*values: object) -> None:
            if self._workspace is not None:
                self._workspace.choose_layer()
                action(self._workspace.controller, *values)

        return slot

    def _hide(self, hidden: list[str]) -> None:
        if self._workspace is not None:
            self._workspace.hide_types(hidden)

    def _on_result_changed(self, folder: Path) -> None:
        if self._workspace is not None and folder == self._workspace.controller.session.path:
            self._show()

    def _set_review_count(self, count: int) -> None:
        if self._workspace is not None:
            self._workspace.controller.review_count = count

    def _zoom(self, factor: float) -> None:
        if self._workspace is not None:
            self._workspace.viewport.zoom_by(factor)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        rows = (self.tools, self.hint, self.types, self.review)
        for widget in (*rows, self.region_button, self.mark_button):
            column.addWidget(widget)
        grid = QGridLayout()
        grid.setSpacing(4)
        buttons = (self.zoom_in_button, self.zoom_out_button, self.keys_button)
        for position, button in enumerate(buttons):
            grid.addWidget(button, 0, position)
        column.addLayout(grid)
        # Last, so that nothing moves when the tool that needs it is taken.
        column.addWidget(self.sam)
        for button in (self.region_button, self.mark_button, *buttons):
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
        self.undo_button.setToolTip("Nothing to undo")
        self.redo_button.setToolTip("Nothing to redo")
        self.buttons: Mapping[Tool, QPushButton] = {tool: _button(tool) for tool in Tool}
        group = QButtonGroup(self)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for tool, button in self.buttons.items():
            group.addButton(button)
            button.clicked.connect(lambda _, tool=tool: self.taken.emit(tool))
        everything = [*self.buttons.values(), self.undo_button, self.redo_button]
        for position, button in enumerate(everything):
            # Keys go to the canvas, unless a person walks through the buttons with Tab.
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            grid.addWidget(button, *divmod(position, _COLUMNS))

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
