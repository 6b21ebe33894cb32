"""Dock widget *Segment nuclei*."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image
from napari.qt.threading import create_worker
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
from napari_nucleus.widgets.segment.worker import Job, Outcome, SegmentationWorker, devices, start
from napari_nucleus.widgets.shared.choices import WIDTH, ImageBox, ModelBox, MppBox
from napari_nucleus.widgets.shared.layer_slide import layer_mpp, layer_slide
from napari_nucleus.widgets.shared.layers import labels_of, placement_of, result_of, show_steps
from napari_nucleus.widgets.shared.regions import shape_outline, shape_region, visible_region
from napari_nucleus.widgets.shared.result_view import ResultView

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress

# Milliseconds in which the window draws and answers between two steps.
_BREATH = 30

_WHERE = {
    "Whole image": None,
    "What I see": visible_region,
    "Inside a drawn shape": shape_region,
}


class SegmentWidget(QWidget):
    """Finds the nuclei of an image layer and shows them as two label layers.

    Parameters
    ----------
    napari_viewer : ViewerModel
        The viewer with the layer.
    """

    finished = Signal()
    """Nothing runs any more: the layers are there, or it was cancelled, or it failed."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._image: Image | None = None  # of which the form tells
        self._segmented: Image | None = None  # which the worker works on
        self._worker: SegmentationWorker | None = None
        self.layer = ImageBox(napari_viewer.layers)
        self.model = ModelBox()
        self.mpp = MppBox()
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.device = QComboBox()
        self.device.addItem("Automatic", None)
        self.segment_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
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
        # Loads torch meanwhile, so that Segment starts at once.
        create_worker(devices, _connect={"returned": self._on_devices})

    def segment(self) -> None:
        """Start, or say in one line what is missing."""
        image = self.layer.layer
        try:
            job = self._job(image)
        except UserError as error:
            self._tell(str(error))
            return
        self._set_running(True)
        self.status.setText("Starting…")
        # Torch makes a million objects. To look through them for garbage would halt the window for
        # half a second in the midst of the work.
        gc.freeze()
        self._segmented = image
        self._worker = start(job, {"yielded": self._on_progress, "returned": self._on_outcome})

    def cancel(self) -> None:
        """Stop, and leave layers and files as they were."""
        if self._worker is None:
            return
        if self._worker.switch.stop():
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling…")
        else:  # it has only read so far, and may end in its own time
            self._worker.returned.disconnect(self._on_outcome)
            self._on_outcome(Outcome())

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

    def _job(self, image: Image | None) -> Job:
        if image is None:
            raise UserError("There is no image to segment: open a slide first.")
        if self.model.checkpoint is None:
            raise UserError("No model is chosen: choose one, or weights from a file.")
        if self.mpp.mpp is None:
            raise UserError(
                f"{image.name} does not tell its µm/px: type it in "
                "(about 0.25 for a 40× scan, 0.5 for 20×)."
            )
        region = _WHERE[self.where.currentText()]
        return Job(
            slide=layer_slide(image, self.mpp.mpp),
            place=placement_of(image),
            earlier=result_of(image),
            model=self.model.checkpoint,
            region=region and region(self._viewer, image),
            outline=shape_outline(self._viewer, image) if region is shape_region else None,
            device=self.device.currentData(),
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

    def _on_devices(self, found: dict[str, str]) -> None:
        for name, device in found.items():
            self.device.addItem(name, device)

    def _on_progress(self, progress: "Progress") -> None:
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        if not self.cancel_button.isEnabled():
            return
        self.status.setText(f"{progress.nuclei:,} nuclei so far")
        if progress.done == progress.total:
            # What is left is to put the result in its place, which must not be cut off.
            self.cancel_button.setEnabled(False)
            self.status.setText(f"{progress.nuclei:,} nuclei: saving them…")

    def _on_outcome(self, outcome: Outcome) -> None:
        if outcome.result is not None and self._segmented is not None:
            image, layers = self._segmented, self._viewer.layers
            self._go_on(show_steps(outcome.result, outcome.layers, image, layers))
            count, seconds = (outcome.result.run[key] for key in ("counts", "seconds"))
            self.status.setText(f"{count['nuclei']:,} nuclei in {seconds['total']:.1f} s")
        elif isinstance(outcome.error, UserError):
            self._tell(str(outcome.error))
            self._end()
        elif outcome.error is None:
            self.status.setText("Cancelled: everything is as it was")
            self._end()
        else:
            self.status.setText("Failed")
            self._end()
            raise outcome.error  # napari shows it with its traceback

    def _go_on(self, steps: Iterator[None]) -> None:
        """Take a step, let the window live, take the next one."""
        for _ in steps:
            QTimer.singleShot(_BREATH, lambda: self._go_on(steps))
            return
        self._end()

    def _end(self) -> None:
        gc.unfreeze()
        self._worker = None
        self._set_running(False)
        self._show_result()
        self.finished.emit()

    def _tell(self, problem: str) -> None:
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
        rows.addRow("µm/px", self.mpp)
        rows.addRow("Where", self.where)
        rows.addRow("Device", self.device)
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment_button)
        buttons.addWidget(self.cancel_button)
        self.status.setWordWrap(True)
        column = QVBoxLayout(self)
        column.addWidget(self._form)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addWidget(self.result)
        column.addStretch()
        self.setMinimumWidth(WIDTH)
