"""Dock widget *Train model*."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.retraining import interrupted_run, new_run, read_job
from napari_nucleus.slides import Slide
from napari_nucleus.weights.store import list_checkpoints
from napari_nucleus.widgets.segment.worker import devices
from napari_nucleus.widgets.shared.choices import WIDTH
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import result_of
from napari_nucleus.widgets.train.form import TrainingForm
from napari_nucleus.widgets.train.loss_plot import LossPlot
from napari_nucleus.widgets.train.new_model import MadeView
from napari_nucleus.widgets.train.prediction_view import PictureView
from napari_nucleus.widgets.train.reviewed import Reviewed
from napari_nucleus.widgets.train.worker import Job, Outcome, TrainingWorker, start

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Update


class TrainWidget(QWidget):
    """Retrains a model on reviewed regions, and shows how it gets on.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer, whose results are proposed.
    """

    finished = Signal()
    """Nothing runs any more: a model was made, or it was cancelled, or it failed."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._reviewed = Reviewed()
        self._job: Job | None = None
        self._worker: TrainingWorker | None = None
        self._before: dict[str, float] = {}
        self._heard = False  # whether the present worker has told anything
        self.form = TrainingForm()
        self.train_button = QPushButton("Train")
        self.pause_button = QPushButton("Pause")
        self.cancel_button = QPushButton("Cancel")
        self.resume_button = QPushButton("Resume the interrupted run")
        self.progress = QProgressBar()
        self.status = QLabel()
        self.plot = LossPlot(napari_viewer.theme)
        self.picture = PictureView()
        self.made = MadeView()
        self._lay_out()
        self._show_state()
        self.propose()
        self.train_button.clicked.connect(self.train)
        self.resume_button.clicked.connect(self.resume)
        self.pause_button.clicked.connect(self.pause)
        self.cancel_button.clicked.connect(self.cancel)
        self.made.use_button.clicked.connect(self.use)
        self.destroyed.connect(gc.unfreeze)
        # Loads torch meanwhile, so that Train starts at once.
        create_worker(devices, _connect={"returned": self.form.add_devices})

    def train(self) -> None:
        """Start, or say in one line what is missing."""
        self.propose()
        try:
            retraining = self.form.retraining()
            images = self._images(retraining.data)
        except UserError as error:
            self._tell(str(error))
            return
        self._start(Job(retraining, new_run(), False, images))

    def resume(self) -> None:
        """Go on with the run that was broken off last."""
        run = interrupted_run()
        retraining = None if run is None else read_job(run)
        if run is None or retraining is None:  # another window has gone on with it
            self._show_state()
            return
        self._start(Job(retraining, run, True, {}))

    def pause(self) -> None:
        """Rest after the present step, or go on."""
        if self._worker is None:
            return
        switch = self._worker.switch
        if switch.paused:
            switch.go_on()
            self.status.setText("Going on…")
        else:
            switch.pause()
            self.status.setText("Paused")
        self.pause_button.setText("Continue" if switch.paused else "Pause")

    def cancel(self) -> None:
        """Stop, and keep the best model so far."""
        if self._worker is None:
            return
        self._worker.switch.stop()
        self.cancel_button.setEnabled(False)
        self.pause_button.setEnabled(False)
        self.status.setText("Cancelling…")
        if not self._heard:  # it has only read so far, and may end in its own time
            self._worker.returned.disconnect(self._on_outcome)
            self._worker.finished.connect(self._show_state)  # it may be resumed from then on
            self._on_outcome(Outcome(cancelled=True))

    def use(self) -> None:
        """Put the new model into the list of models, and choose it to start from."""
        try:
            path = self.made.use()
        except UserError as error:
            self._tell(str(error))
            return
        self.form.model.choose(path.stem)
        self.status.setText(f"{path.stem} is in the list of models")

    def propose(self) -> None:
        """Put open results with reviewed regions into the list of data."""
        self.form.data.propose(self._reviewed.of(self._viewer.layers))

    def changeEvent(self, a0: QEvent | None) -> None:
        """Cancel when napari takes the widget out of the window."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.cancel()

    def enterEvent(self, event: QEnterEvent | None) -> None:
        """Propose what was reviewed since."""
        super().enterEvent(event)
        self.propose()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.propose()

    def _images(self, data: tuple[Path, ...]) -> dict[Path, Slide]:
        """Return the images of results that are open: they may be in no file."""
        images = (one for one in self._viewer.layers if isinstance(one, Image))
        shown = {folder: one for one in images if (folder := result_of(one)) in data}
        return {
            folder: layer_slide(layer, open_result(folder).mpp) for folder, layer in shown.items()
        }

    def _start(self, job: Job) -> None:
        self._job, self._before, self._heard = job, {}, False
        # Torch makes a million objects. To look through them for garbage would halt the window for
        # half a second in the midst of the work.
        gc.freeze()
        self.made.show_made(None, "")
        self.picture.hide()
        self.plot.hide()
        self.progress.setRange(0, 0)
        self.status.setText("Reading what was reviewed…")
        self._worker = start(job, {"yielded": self._on_update, "returned": self._on_outcome})
        self._show_state()

    def _on_update(self, update: "Update") -> None:
        assert self._job is not None
        self._heard = True
        step = update.step
        self._before = self._before or update.scores or {}
        if update.picture is not None:
            picture = update.picture
            self.picture.show()
            self.picture.show_nuclei(picture.image, picture.true, picture.predicted)
        if step is None:
            self.status.setText("Comparing…" if self.progress.maximum() else "Training starts…")
            return
        self.progress.setRange(0, step.total)
        self.progress.setValue(step.step)
        if update.scores is not None:
            self.plot.show()
            log = self._job.out / "log.csv"
            self.plot.show_log(log, step.step, step.epochs, self._before)
        if self.cancel_button.isEnabled() and not (self._worker and self._worker.switch.paused):
            left = _duration(update.seconds_left or 0)
            self.status.setText(f"Epoch {step.epoch} of {step.epochs}, {left} left")

    def _on_outcome(self, outcome: Outcome) -> None:
        assert self._job is not None
        gc.unfreeze()
        self._worker = None
        if isinstance(outcome.error, UserError):
            self._tell(str(outcome.error))
        elif outcome.error is not None:
            self.status.setText("Failed")
        elif outcome.made is None:
            self.status.setText("Cancelled before there was a new model")
        elif outcome.cancelled:
            self.status.setText("Cancelled: this is the best model so far")
        else:
            better = outcome.made.after["pq"] > outcome.made.before["pq"]
            self.status.setText(
                "Done: the new model outlines held-out nuclei better"
                if better
                else "Done, but the new model outlines held-out nuclei no better: review more"
            )
        self.made.show_made(outcome.made, _free_name(self._job.retraining.model))
        self._show_state()
        self.finished.emit()
        if outcome.error is not None and not isinstance(outcome.error, UserError):
            raise outcome.error  # napari shows it with its traceback

    def _tell(self, problem: str) -> None:
        self.status.setText(problem)
        show_error(problem)

    def _show_state(self) -> None:
        running = self._worker is not None
        self.form.setEnabled(not running)
        self.train_button.setEnabled(not running)
        self.pause_button.setEnabled(running)
        self.pause_button.setText("Pause")
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        run = None if running else interrupted_run()
        self.resume_button.setVisible(run is not None)
        if run is not None and (job := read_job(run)) is not None:
            data = "\n".join(map(str, job.data))
            self.resume_button.setToolTip(
                f"Begun {run.name}, from {job.model}, {job.epochs} epochs, on\n{data}\n"
                "Train gives it up."
            )

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for button in (self.train_button, self.pause_button, self.cancel_button):
            buttons.addWidget(button)
        self.status.setWordWrap(True)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.addWidget(self.form)
        column.addLayout(buttons)
        parts: list[QWidget] = [self.resume_button, self.progress, self.status, self.made]
        parts += [self.picture, self.plot]
        for part in parts:
            column.addWidget(part)
        self.picture.hide()
        self.plot.hide()
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(WIDTH)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _free_name(model: str) -> str:
    """Propose a name for a model that was made from another."""
    base, known = f"{Path(model).stem.partition('_retrained')[0]}_retrained", list_checkpoints()
    number = 1
    while (name := base if number == 1 else f"{base}_{number}") in known:
        number += 1
    return name
