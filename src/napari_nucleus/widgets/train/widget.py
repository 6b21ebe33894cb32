"""Dock widget *Train model*."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QEnterEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.retraining import Retraining, interrupted_run, new_run, read_job
from napari_nucleus.retraining.verdict import verdict
from napari_nucleus.slides import Slide
from napari_nucleus.weights.store import list_checkpoints
from napari_nucleus.widgets.shared.background import Cancelled, Failure, Job, start_job
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.job_notice import JobNotice, duration
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import results_of
from napari_nucleus.widgets.train.form import TrainingForm
from napari_nucleus.widgets.train.job import Training, TrainJob
from napari_nucleus.widgets.train.loss_plot import LossPlot
from napari_nucleus.widgets.train.new_model import NewModelView
from napari_nucleus.widgets.train.prediction_view import PredictionView
from napari_nucleus.widgets.train.reviewed import Reviewed

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Update


_GRACE = 1.0
"""Seconds for a step to complete after cancelling, so that nothing of it is lost."""


class TrainWidget(Dock):
    """Fine-tunes a model on reviewed regions and shows its progress.

    Parameters
    ----------
    napari_viewer : Viewer
        The viewer; its results are offered as training data.
    """

    finished = Signal()
    """The training has ended: a model was trained, or it was cancelled, or it failed."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__("Train model")
        self._viewer = napari_viewer
        self._reviewed = Reviewed()
        self._training: TrainJob | None = None  # under way, or the latest
        self._job: Job | None = None
        self._notice: JobNotice | None = None
        self._before: dict[str, float] = {}
        self.form = TrainingForm()
        self.settings_button = QToolButton()
        self.train_button = QPushButton("Train")
        self.pause_button = QPushButton("Pause")
        self.cancel_button = QPushButton("Cancel")
        self.resume_button = QPushButton("Resume interrupted run")
        self.resume_button.setToolTip("Continue the latest run that did not end")
        self.progress = QProgressBar()
        self.status = QLabel()
        self.plot = LossPlot(napari_viewer.theme)
        self.prediction = PredictionView()
        self.new_model = NewModelView()
        self._lay_out()
        self._show_state()
        self.offer_results()
        self.settings_button.toggled.connect(self._show_form)
        self.train_button.clicked.connect(self.train)
        self.resume_button.clicked.connect(self.resume)
        self.pause_button.clicked.connect(self.pause)
        self.cancel_button.clicked.connect(self.cancel)
        self.new_model.use_button.clicked.connect(self.use)
        self.destroyed.connect(gc.unfreeze)

    def train(self) -> None:
        """Start, or say in one line what is missing."""
        self.offer_results()
        try:
            retraining = self.form.retraining()
            images = self._images(retraining.data)
        except UserError as error:
            self._show_problem(str(error))
            return
        self._start(TrainJob(retraining, new_run(), False, images))

    def resume(self) -> None:
        """Resume the latest interrupted run."""
        run = interrupted_run()
        retraining = None if run is None else read_job(run)
        if run is None or retraining is None:  # another window has resumed it
            self._show_state()
            return
        self._start(TrainJob(retraining, run, True, {}))

    def pause(self) -> None:
        """Pause after the present step, or continue."""
        if self._job is None:
            return
        token = self._job.token
        if token.paused:
            token.resume()
            self.status.setText("Continuing…")
        else:
            token.pause()
            self.status.setText("Paused")
        self.pause_button.setText("Continue" if token.paused else "Pause")

    def cancel(self) -> None:
        """Stop, and keep the best model so far."""
        job = self._job
        if job is None:
            return
        if job.cancel():
            self.cancel_button.setEnabled(False)
            self.pause_button.setEnabled(False)
            self.status.setText("Cancelling…")
        else:
            job.finished.connect(self._show_state)  # it may be resumed from then on
            self._on_end(Failure(Cancelled()))

    def use(self) -> None:
        """Add the new model to the list of models and select it."""
        try:
            path = self.new_model.use()
        except UserError as error:
            self._show_problem(str(error))
            return
        if path is None:
            return
        self.form.model.choose(path.stem)
        self.status.setText(f"{path.stem} was added to the list of models.")

    def offer_results(self) -> None:
        """Add open results with reviewed regions to the list of training data."""
        self.form.data.offer(self._reviewed.among(self._viewer.layers))

    def changeEvent(self, a0: QEvent | None) -> None:
        """Cancel when napari takes the widget out of the window."""
        super().changeEvent(a0)
        if a0 is not None and a0.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.cancel()

    def enterEvent(self, event: QEnterEvent | None) -> None:
        """Offer results that were reviewed since."""
        super().enterEvent(event)
        self.offer_results()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.offer_results()

    def _images(self, data: tuple[Path, ...]) -> dict[Path, Slide]:
        """Return the images of results that are open, which need not be files."""
        images = (one for one in self._viewer.layers if isinstance(one, Image))
        shown = {folder: one for one in images for folder in results_of(one) if folder in data}
        return {
            folder: layer_slide(layer, open_result(folder).mpp) for folder, layer in shown.items()
        }

    def _start(self, training: TrainJob) -> None:
        self._training, self._before = training, {}
        # Torch makes a million objects. To look through them for garbage would halt the window for
        # half a second during the work.
        gc.freeze()
        for part in (self.new_model, self.prediction, self.plot):
            part.hide()
        self.settings_button.setChecked(False)
        self.progress.setRange(0, 0)
        self.status.setText("Reading training data…")
        self._notice = JobNotice(f"Training {Path(training.retraining.model).stem}")
        self._job = start_job(training.steps, self._on_update, self._on_end, grace=_GRACE)
        self._show_state()

    def _on_update(self, update: "Update") -> None:
        assert self._training is not None
        step = update.step
        self._before = self._before or update.scores or {}
        if update.picture is not None:
            picture = update.picture
            self.prediction.show()
            self.prediction.show_nuclei(picture.image, picture.true, picture.predicted)
        if update.scores is not None:
            self.prediction.show_scores(self._before, update.scores)
        if step is None:
            self.status.setText("Evaluating…" if self.progress.maximum() else "Starting training…")
            return
        self.progress.setRange(0, step.total)
        self.progress.setValue(step.step)
        if self._notice is not None:
            self._notice.update(step.step, step.total)
        if update.scores is not None:
            self.plot.show()
            log = self._training.out / "log.csv"
            self.plot.show_log(log, step.step, step.epochs, self._before)
        if self.cancel_button.isEnabled() and not (self._job and self._job.token.paused):
            left = duration(update.seconds_left or 0)
            self.status.setText(f"Epoch {step.epoch} of {step.epochs}, {left} left")

    def _on_end(self, outcome: Training | Failure) -> None:
        assert self._training is not None
        gc.unfreeze()
        self._job = None
        try:
            if isinstance(outcome, Failure):
                self.settings_button.setChecked(True)
                self._show_failure(outcome.error)
            else:
                self._show_outcome(outcome, self._training.retraining)
                if self._notice is not None:
                    self._notice.notify(self.status.text())
        finally:
            if self._notice is not None:
                self._notice.close()
            self._show_state()
            self.finished.emit()

    def _show_outcome(self, outcome: Training, job: Retraining) -> None:
        made = outcome.retrained
        found = verdict(made.before, made.after, job.train)
        self.prediction.show_scores(made.before, made.after, made.agreement)
        self.new_model.show_model(made, _free_name(job.model), found.lower)
        if outcome.cancelled:
            self.status.setText("Cancelled. The best model so far was kept.")
            return
        self.status.setText(f"Training finished. {found}")

    def _show_failure(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self._show_problem(str(error))
        elif isinstance(error, Cancelled):
            self.status.setText("Cancelled before there was a new model.")
        else:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            self.status.setText(f"Training failed: {reason}")
            raise error  # napari shows it with its traceback

    def _show_problem(self, problem: str) -> None:
        self.status.setText(problem)
        show_error(problem)

    def _show_state(self) -> None:
        running = self._job is not None
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
                f"Started {run.name} from {job.model}, {job.epochs} epochs, trained on\n{data}\n"
                "Starting a new training discards this run."
            )

    def _show_form(self, shown: bool) -> None:
        self.form.setVisible(shown)
        arrow = Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow
        self.settings_button.setArrowType(arrow)

    def _lay_out(self) -> None:
        self.settings_button.setText("Settings")
        self.settings_button.setToolTip("Show or hide the settings")
        self.settings_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.settings_button.setCheckable(True)
        self.settings_button.setChecked(True)
        self._show_form(True)
        self.train_button.setToolTip("Start a new training")
        self.pause_button.setToolTip("Pause after the present step, or continue")
        self.cancel_button.setToolTip("Stop; the best model so far is kept")
        buttons = QHBoxLayout()
        for button in (self.train_button, self.pause_button, self.cancel_button):
            buttons.addWidget(button)
        self.status.setWordWrap(True)
        column = QVBoxLayout(self.content)
        column.addWidget(self.settings_button)
        column.addWidget(self.form)
        column.addLayout(buttons)
        parts: list[QWidget] = [self.resume_button, self.progress, self.status, self.new_model]
        parts += [self.prediction, self.plot]
        for part in parts:
            column.addWidget(part)
        self.prediction.hide()
        self.plot.hide()
        column.addStretch()


def _free_name(model: str) -> str:
    """Suggest an unused name for a fine-tuned model."""
    base, known = f"{Path(model).stem.partition('_retrained')[0]}_retrained", list_checkpoints()
    number = 1
    while (name := base if number == 1 else f"{base}_{number}") in known:
        number += 1
    return name
