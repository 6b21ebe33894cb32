"""Dock widget *Correct nuclei*."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.prompts.propose import OutlineProposer
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.correct.add_nucleus import NucleusAdder
from napari_nucleus.widgets.correct.panel import CorrectingPanel
from napari_nucleus.widgets.correct.workspace import Workspace
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.choices import ResultChoice
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.layers import image_layer, labels_of, placement_of, result_of
from napari_nucleus.widgets.shared.nuclei_table import open_table
from napari_nucleus.widgets.shared.open_session import ImageMoved, image_of, open_session
from napari_nucleus.widgets.shared.regions import shape_region, visible_region

_WHERE = {"Visible area": visible_region, "Inside a drawn shape": shape_region}


class CorrectWidget(Dock):
    """Corrects shapes and classes of the nuclei of a result.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer with its layers.
    """

    started = Signal()
    """The result is open, or could not be opened."""
    finished = Signal()
    """It is saved, and its layers show it."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Correct nuclei")
        # Empty once the window is gone; `self` would keep it from going.
        self._alive = alive = [True]
        self.destroyed.connect(lambda: alive.clear())
        self._viewer = napari_viewer
        self._workspace: Workspace | None = None
        self._adder: NucleusAdder | None = None
        self._opening: tuple[Labels, Labels, Box] | None = None
        self.results = ResultChoice(napari_viewer.layers)
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.where.setToolTip("Region of a large slide to correct first")
        self.start_button = QPushButton("Start correcting")
        self.start_button.setToolTip("Correct the result, or finish; every edit is saved at once")
        self.table_button = QPushButton("Table…")
        self.table_button.setToolTip("Open the table of nuclei below the image")
        self.panel = CorrectingPanel()
        self.status = QLabel()
        self._lay_out()
        self._show_state()
        self.results.currentIndexChanged.connect(self._show_state)
        self.start_button.clicked.connect(self._on_button)
        self.table_button.clicked.connect(self.show_table)
        self.panel.sam.changed.connect(self._on_sam)

    def start(self) -> None:
        """Open the chosen result, or say in one line what is missing."""
        try:
            self._opening = self._what()
        except UserError as error:
            self._fail(error)
            return
        self._open(image_of(self._folder, self._viewer.layers))

    def finish(self) -> None:
        """Save, and leave the result to others."""
        if self._workspace is not None:
            self.start_button.setEnabled(False)
            self._leave(self._on_done)

    def show_table(self) -> None:
        """Open the table of the chosen result below the canvas."""
        if (nuclei := self.results.layer) is not None:
            open_table(self._viewer, nuclei)

    def changeEvent(self, a0: QEvent | None) -> None:
        """Finish when napari takes the widget out of the window."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._leave(lambda: None)

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.results.update_choices(self._viewer.layers)

    @property
    def workspace(self) -> Workspace | None:
        """What is being corrected."""
        return self._workspace

    @property
    def _folder(self) -> Path:
        assert self._opening is not None
        folder = result_of(self._opening[0])
        assert folder is not None
        return folder

    def _what(self) -> tuple[Labels, Labels, Box]:
        nuclei = self.results.layer
        if nuclei is None:
            raise UserError("There is no result: segment an image, or drop a result on napari.")
        classes = labels_of(result_of(nuclei), "classes", self._viewer.layers)
        if classes is None:
            raise UserError("The classes layer was removed: drop the result on napari again.")
        if not nuclei.multiscale:
            height, width = nuclei.data.shape
            return nuclei, classes, Box(0, 0, width, height)
        x, y, width, height = _WHERE[self.where.currentText()](self._viewer, nuclei)
        return nuclei, classes, Box(x, y, x + width, y + height)

    def _open(self, image: Image | Path | None) -> None:
        self.start_button.setEnabled(False)
        self.status.setText("Opening…")
        in_background(open_session, self._folder, image, then=self._on_opened)

    def _on_opened(self, session: EditSession | Failure) -> None:
        self.start_button.setEnabled(True)
        if isinstance(session, Failure):
            error = session.error
            if isinstance(error, ImageMoved) and (path := self._ask_for_image(error)):
                self._open(path)
            else:
                self._fail(error)
            return
        assert self._opening is not None
        nuclei, classes, box = self._opening
        self._tell("")
        self._show_image(session, nuclei)
        adder = NucleusAdder(self._proposer(session))
        try:
            workspace = Workspace(
                self._viewer,
                session,
                nuclei,
                classes,
                box,
                self._tell,
                adder.ask,
                self.finish,
            )
        except UserError as error:
            session.close()
            self._fail(error)
            return
        adder.found.connect(workspace.controller.add)
        adder.failed.connect(self._tell)
        adder.waiting.connect(self.panel.sam.show_waiting)
        self._workspace, self._adder = workspace, adder
        self.panel.use(workspace)
        if line := session.read_only or session.warning:
            self._tell(line)
        self._show_state()
        self.started.emit()

    def _ask_for_image(self, error: ImageMoved) -> Path | None:
        show_error(str(error))
        path, _ = QFileDialog.getOpenFileName(self, f"Locate the image of {self._folder.name}")
        return Path(path) if path else None

    def _show_image(self, session: EditSession, nuclei: Labels) -> None:
        """Show an image that was not in the viewer, where it is found the next time."""
        if image_of(session.path, self._viewer.layers) is None:
            image = image_layer(session.slide)
            image.metadata["result"] = str(session.path)
            for name, value in placement_of(nuclei).items():
                setattr(image, name, value)
            self._viewer.layers.insert(0, image)

    def _fail(self, error: Exception) -> None:
        self.status.setText(str(error))
        self.started.emit()
        if not isinstance(error, UserError):
            raise error
        show_error(str(error))

    def _tell(self, line: str) -> None:
        self.status.setText(line)

    def _leave(self, done: Callable[[], object]) -> None:
        workspace, self._workspace = self._workspace, None
        if workspace is not None and self._adder is not None:
            self._adder.blockSignals(True)
            self.panel.use(None)
            workspace.clear(done)

    def _on_done(self) -> None:
        if not self._alive:  # the window was closed meanwhile
            return
        self.start_button.setEnabled(True)
        self.status.setText(self.status.text() or "Saved.")
        self._show_state()
        self.finished.emit()

    def _on_sam(self) -> None:
        if self._workspace is not None and self._adder is not None:
            session = self._workspace.controller.session
            self._adder.proposer = OutlineProposer(
                session.slide, session.mpp, session.path, self.panel.sam.file
            )

    def _proposer(self, session: EditSession) -> OutlineProposer:
        return OutlineProposer(session.slide, session.mpp, session.path, self.panel.sam.file)

    def _on_button(self) -> None:
        if self._workspace is None:
            self.start()
        elif self._workspace.controller.take_in():  # else what was painted could not be taken in
            self.finish()

    def _show_state(self) -> None:
        open_ = self._workspace is not None
        layer = self.results.layer
        self.start_button.setText("Done" if open_ else "Start correcting")
        self.table_button.setEnabled(layer is not None)
        self.panel.setVisible(open_)
        self.results.setEnabled(not open_)
        self._form.setRowVisible(self.where, not open_ and layer is not None and layer.multiscale)

    def _lay_out(self) -> None:
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("Result", self.results)
        self._form.addRow("Where", self.where)
        self.status.setWordWrap(True)
        self.status.setStyleSheet("font-weight: bold")
        self.start_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.table_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        column = QVBoxLayout(self.content)
        column.addLayout(self._form)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start_button, 1)
        buttons.addWidget(self.table_button)
        column.addLayout(buttons)
        column.addWidget(self.panel)
        column.addStretch()
        self.footer.insertWidget(0, self.status, 1)
