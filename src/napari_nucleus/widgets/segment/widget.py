"""Dock widget *Segment nuclei*."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.segment.job import Segmentation, SegmentJob
from napari_nucleus.widgets.shared.background import Cancelled, Failure, Job, start_job
from napari_nucleus.widgets.shared.choices import ImageChoice, ModelChoice, MppField
from napari_nucleus.widgets.shared.device_choice import DeviceChoice
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.layer_slide import layer_mpp, layer_slide
from napari_nucleus.widgets.shared.layers import labels_of, placement_of, result_of, show_steps
from napari_nucleus.widgets.shared.regions import shape_outline, shape_region, visible_region
from napari_nucleus.widgets.shared.result_view import ResultView

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress

# Milliseconds for the window to redraw and respond between two steps.
_REDRAW = 30

_WHERE = {
    "Whole image": None,
    "Visible area": visible_region,
    "Inside a drawn shape": shape_region,
}


class SegmentWidget(Dock):
    """Segments the nuclei of an image layer and shows them as two label layers.

    Parameters
    ----------
    napari_viewer : ViewerModel
        The viewer with the layer.
    """

    finished = Signal()
    """The segmentation has ended: its layers are shown, or it was cancelled, or it failed."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__("Segment nuclei")
        self._viewer = napari_viewer
        self._image: Image | None = None  # chosen in the form
        self._segmented: Image | None = None  # being segmented
        self._job: Job | None = None
        self.layer = ImageChoice(napari_viewer.layers)
        self.model = ModelChoice()
        self.mpp = MppField()
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.device = DeviceChoice()
        self.segment_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
        self.where.setToolTip("Part of the image to segment")
        self.segment_button.setToolTip("Find, outline and classify the nuclei")
        self.cancel_button.setToolTip("Stop, and leave everything as it was")
        self.progress = QProgressBar()
        self.status = QLabel()
        self.result = ResultView(napari_viewer)
        self._form = QWidget()
        self._lay_out()
        self._set_running(False)
        self._on_layer_chosen()
        self.layer.currentIndexChanged.connect(self._on_layer_chosen)
        self.segment_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(self.cancel)
        self.destroyed.connect(gc.unfreeze)

    def segment(self) -> None:
        """Start, or say in one line what is missing."""
        image = self.layer.layer
        try:
            job = self._read_form(image)
        except UserError as error:
            self._show_problem(str(error))
            return
        self._set_running(True)
        self.status.setText("Starting…")
        # Torch makes a million objects. To look through them for garbage would halt the window for
        # half a second during the work.
        gc.freeze()
        self._segmented = image
        self._job = start_job(job.steps, self._on_progress, self._on_end)

    def cancel(self) -> None:
        """Stop, and leave layers and files as they were."""
        if self._job is None:
            return
        if self._job.cancel():
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling…")
        else:
            self._on_end(Failure(Cancelled()))

    def save_csv(self, path: str | Path) -> None:
        """Write the table of the nuclei that are shown.

        Raises
        ------
        UserError
            If there are none, or the file cannot be written.
        """
        self.result.save_csv(path)

    def changeEvent(self, a0: QEvent | None) -> None:
        """Cancel when napari takes the widget out of the window."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.cancel()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.layer.update_choices(self._viewer.layers)

    def _read_form(self, image: Image | None) -> SegmentJob:
        if image is None:
            raise UserError("No image to segment: open a slide first.")
        if self.model.checkpoint is None:
            raise UserError("No model selected: choose one, or load weights from a file.")
        if self.mpp.mpp is None:
            raise UserError(
                f"The pixel size of {image.name} is unknown: enter its µm/px "
                "(about 0.25 for a 40× scan, 0.5 for 20×)."
            )
        region = _WHERE[self.where.currentText()]
        return SegmentJob(
            slide=layer_slide(image, self.mpp.mpp),
            transform=placement_of(image),
            model=self.model.checkpoint,
            region=region and region(self._viewer, image),
            outline=shape_outline(self._viewer, image) if region is shape_region else None,
            device=self.device.device,
        )

    def _on_layer_chosen(self) -> None:
        image = self.layer.layer
        if image != self._image:
            self._image = image
            self.mpp.mpp = image and layer_mpp(image)
        self._show_result()

    def _show_result(self) -> None:
        folder = self._image and result_of(self._image)
        self.result.show_nuclei(labels_of(folder, "nuclei", self._viewer.layers))

    def _on_progress(self, progress: "Progress") -> None:
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        if not self.cancel_button.isEnabled():
            return
        self.status.setText(f"{progress.nuclei:,} nuclei so far")
        if progress.done == progress.total:
            # What is left is to move the result to its folder, which must not be interrupted.
            self.cancel_button.setEnabled(False)
            self.status.setText(f"Saving {progress.nuclei:,} nuclei…")

    def _on_end(self, outcome: Segmentation | Failure) -> None:
        if isinstance(outcome, Failure):
            try:
                self._show_failure(outcome.error)
            finally:
                self._clean_up()
            return
        assert self._segmented is not None
        run = outcome.result.run
        self.status.setText(
            f"{run['counts']['nuclei']:,} nuclei in {run['seconds']['total']:.1f} s"
        )
        self._show_layers(
            show_steps(outcome.result, outcome.layers, self._segmented, self._viewer.layers)
        )

    def _show_layers(self, steps: Iterator[None]) -> None:
        """Take a step, let the window redraw, take the next one."""
        for _ in steps:
            QTimer.singleShot(_REDRAW, lambda: self._show_layers(steps))
            return
        self._clean_up()

    def _show_failure(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self._show_problem(str(error))
        elif isinstance(error, Cancelled):
            self.status.setText("Cancelled. Nothing was changed.")
        else:
            self.status.setText("Segmentation failed.")
            raise error  # napari shows it with its traceback

    def _clean_up(self) -> None:
        gc.unfreeze()
        self._job = None
        self._set_running(False)
        self._show_result()
        self.finished.emit()

    def _show_problem(self, problem: str) -> None:
        self.status.setText(problem)
        show_error(problem)

    def _set_running(self, running: bool) -> None:
        self._form.setEnabled(not running)
        self.segment_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        self.progress.setRange(0, 0)

    def _lay_out(self) -> None:
        rows = QFormLayout(self._form)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Image", self.layer)
        rows.addRow("Model", self.model)
        rows.addRow("", self.model.summary)
        rows.addRow("µm/px", self.mpp)
        rows.addRow("Where", self.where)
        rows.addRow("Device", self.device)
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment_button)
        buttons.addWidget(self.cancel_button)
        self.status.setWordWrap(True)
        column = QVBoxLayout(self.content)
        column.addWidget(self._form)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addWidget(self.result)
        column.addStretch()
