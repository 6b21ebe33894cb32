"""Dock widget *Segment nuclei*."""

import gc
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QEvent, QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.results.swap import is_corrected
from napari_nucleus.results.unfinished import finished_tiles
from napari_nucleus.widgets.segment import target as targets
from napari_nucleus.widgets.segment.batch_page import BatchPage
from napari_nucleus.widgets.segment.before_after import BeforeAfter, Comparison
from napari_nucleus.widgets.segment.form import SHAPES, VISIBLE, SegmentForm
from napari_nucleus.widgets.segment.job import Begun, Filled, Handover, Segmentation, SegmentJob
from napari_nucleus.widgets.segment.lending import lend, take_back
from napari_nucleus.widgets.segment.live_layer import LiveLayer
from napari_nucleus.widgets.segment.offer import Offer
from napari_nucleus.widgets.segment.show import open_results, painted_labels, show_steps
from napari_nucleus.widgets.segment.target import Target, Way
from napari_nucleus.widgets.shared.background import Cancelled, Failure, Job, start_job
from napari_nucleus.widgets.shared.dock import Dock
from napari_nucleus.widgets.shared.job_notice import JobNotice
from napari_nucleus.widgets.shared.layer_pixels import plane_in_view
from napari_nucleus.widgets.shared.layer_slide import layer_mpp
from napari_nucleus.widgets.shared.layers import journal_size, placement_of, result_of
from napari_nucleus.widgets.shared.preferences import preferences
from napari_nucleus.widgets.shared.regions import shape_regions, visible_region
from napari_nucleus.widgets.shared.result_view import ResultView
from napari_nucleus.widgets.shared.scale import give_scale
from napari_nucleus.widgets.shared.shown_results import shown_results
from napari_nucleus.widgets.shared.viewport import ViewCenter

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress

# Milliseconds for the window to redraw and respond between two steps.
_REDRAW = 30


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
        self._plane: tuple[int, ...] = ()  # of a stack
        self._job: Job | None = None
        self._running: SegmentJob | None = None
        self._begun: Begun | None = None
        self._view: ViewCenter | None = None
        self._live: LiveLayer | None = None
        self._notice: JobNotice | None = None
        self._latest: Progress | None = None
        self.pages = QTabBar()
        self.pages.addTab("One image")
        self.pages.addTab("Many images")
        self.pages.setTabToolTip(0, "Segment an image of the viewer")
        self.pages.setTabToolTip(1, "Segment files, one after the other")
        self.form = SegmentForm(napari_viewer)
        self.segment_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
        self.segment_button.setToolTip("Find, outline and classify the nuclei")
        self.cancel_button.setToolTip(
            "Stop; finished tiles are kept, and Segment goes on from there"
        )
        self.progress = QProgressBar()
        self.status = QLabel()
        self.before_after = BeforeAfter(napari_viewer.layers)
        self.result = ResultView(napari_viewer)
        self.batch = BatchPage(napari_viewer, self.form.settings)
        self._one = QWidget()
        self._offer = Offer(self.form, napari_viewer)
        self._offered = ""
        self._lay_out()
        self._set_running(False)
        self._show_page(0)
        self._on_layer_chosen()
        self.pages.currentChanged.connect(self._show_page)
        self.form.layer.currentIndexChanged.connect(self._on_layer_chosen)
        self.form.mpp.editingFinished.connect(self._scale_image)
        self.segment_button.clicked.connect(self.segment)
        self.cancel_button.clicked.connect(self.cancel)
        self.batch.running.connect(self._on_batch)
        self.before_after.told.connect(self.status.setText)
        self.before_after.switched.connect(self._show_result)
        self._offer.told.connect(self._show_offer)
        napari_viewer.layers.selection.events.active.connect(self._show_result)
        self.destroyed.connect(gc.unfreeze)

    def segment(self) -> None:
        """Start, or say in one line what is missing."""
        image = self.form.layer.layer
        try:
            job = self._read_form(image)
        except UserError as error:
            self._show_problem(str(error))
            return
        if job is None:
            return
        self.before_after.close_comparison()
        self._set_running(True)
        self.status.setText("Starting…")
        # Torch makes a million objects. To look through them for garbage would halt the window for
        # half a second during the work.
        gc.freeze()
        self._segmented, self._running, self._begun = image, job, None
        self._notice = JobNotice(f"Segmenting {job.slide.name}")
        self._job = start_job(job.steps, self._on_progress, self._on_end)

    def cancel(self) -> None:
        """Stop; layers and results stay as they were, and finished tiles are kept."""
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
            self._viewer.layers.selection.events.active.disconnect(self._show_result)
            self._leave_viewer()
            self.cancel()
            self.batch.stop()

    def reset_choices(self, event: Any = None) -> None:
        """Follow the layers of the viewer; napari calls it when they change."""
        self.form.layer.update_choices(self._viewer.layers)

    def _read_form(self, image: Image | None) -> SegmentJob | None:
        """Return what to do, None if the user decided against it."""
        if image is None:
            raise UserError("No image to segment: open a slide first.")
        model = self.form.checkpoint
        self._plane = plane_in_view(self._viewer, image)
        slide = self.form.slide_of(image)
        give_scale(self._viewer, image, slide.require_mpp())
        where = self.form.where.currentText()
        region = visible_region(self._viewer, image) if where == VISIBLE else None
        regions = shape_regions(self._viewer, image) if where == SHAPES else None
        painted = self._painted(image)
        target = self._choose_target(image, painted)
        if target is None:
            return None
        if self.form.layer.conversion:
            show_info(f"Segmenting {self.form.layer.currentText()}.")
        self._view = ViewCenter(self._viewer, image)
        return SegmentJob(
            slide=slide,
            transform=placement_of(image),
            model=model,
            region=region,
            regions=regions,
            tissue=self.form.tissue.tissue,
            view=self._view,
            device=self.form.device.device,
            target=target,
            painted=painted,
            folder=preferences().folder_of_results(),
        )

    def _painted(self, image: Image) -> dict[Path, np.ndarray]:
        """Return the labels of results in which the user has painted without Correct nuclei."""
        found: dict[Path, np.ndarray] = {}
        for nuclei in open_results(image, self._viewer.layers):
            folder = result_of(nuclei)
            if folder is None or folder in shown_results.editors:
                continue
            if (labels := painted_labels(nuclei)) is not None:
                found[folder] = labels
        return found

    def _choose_target(self, image: Image, painted: Collection[Path]) -> Target | None:
        """Return where the nuclei go; ask if there are corrections, None to do nothing."""
        self.form.target.show_results(open_results(image, self._viewer.layers))
        target = self.form.target.target
        if target.way is Way.ADD:
            return target
        results = [result_of(one) for one in open_results(image, self._viewer.layers)]
        folders = [one for one in results if one is not None and target.folder in (None, one)]
        editors = [one for one in folders if one in shown_results.editors]
        corrected = editors or [one for one in folders if one in painted or is_corrected(one)]
        if not corrected:
            return target
        return targets.ask_about_corrections(self, corrected[-1], bool(editors))

    def _scale_image(self) -> None:
        """Place an image without a pixel size in micrometres."""
        image = self.form.layer.layer
        with suppress(UserError):  # said when it is used
            if image is not None and self.form.mpp.mpp is not None:
                give_scale(self._viewer, image, self.form.mpp.mpp)

    def _on_layer_chosen(self) -> None:
        image = self.form.layer.layer
        if image != self._image:
            self._image = image
            self.form.mpp.mpp = image and layer_mpp(image)
            if self._job is None:
                self.status.setText("")
                self._offer.forget()
        self.form.tissue.follow(image)
        self._show_result()

    def _show_result(self, event: Any = None) -> None:
        """Show the result of the image that is selected, or else the latest."""
        results = open_results(self._image, self._viewer.layers)
        self.form.target.show_results(results)
        active = self._viewer.layers.selection.active
        selected = [one for one in results if active and result_of(one) == result_of(active)]
        self.result.show_nuclei((selected or results or [None])[-1])

    def _on_progress(self, progress: "Progress | Handover | Begun") -> None:
        if isinstance(progress, Handover):
            assert self._running is not None
            lend(progress, self._running.target.folder, self._viewer.layers)
            return
        if isinstance(progress, Begun):
            self._begin(progress)
            return
        if self._live is not None:
            self._live.show(progress)
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        kept = 0 if self._begun is None else self._begun.kept
        self._latest, left = progress, ""
        if self._notice is not None and progress.done >= kept:  # those take no time
            left = self._notice.update(progress.done, progress.total)
        # napari lets the window go on meanwhile
        if self._latest is not progress or not self.cancel_button.isEnabled():
            return
        so_far = ", ".join(filter(None, [f"{progress.nuclei:,} nuclei so far", left]))
        before = "" if self._begun is None else self._begun.line
        self.status.setText("\n".join(filter(None, [so_far, before])))
        if progress.joined == 1:
            # What is left is to move the result to its folder, which must not be interrupted.
            self.cancel_button.setEnabled(False)
            self.status.setText(f"Saving {progress.nuclei:,} nuclei…")

    def _begin(self, begun: Begun) -> None:
        """Say what was there before, and show what comes."""
        assert self._running is not None
        assert self._segmented is not None
        self._begun, job = begun, self._running
        self.status.setText(begun.line or "Starting…")
        self._live = LiveLayer(
            self._segmented, self._viewer.layers, job.slide.shape, begun.types, job.transform
        )

    def _on_end(self, outcome: Segmentation | Filled | Failure) -> None:
        if self._running is not None:
            take_back(self._running.handover, self._viewer.layers)
        try:
            if isinstance(outcome, Failure):
                raise outcome.error
            steps = self._fill(outcome) if isinstance(outcome, Filled) else self._show_new(outcome)
        except Exception as error:
            try:
                self._show_failure(error)
            finally:
                self._clean_up()
            return
        self._show_layers(steps)

    def _show_new(self, found: Segmentation) -> Iterator[None]:
        assert self._segmented is not None
        self._segmented.metadata["plane"] = self._plane
        self.status.setText(found.summary)
        return show_steps(found, self._segmented, self._viewer.layers)

    def _fill(self, filled: Filled) -> Iterator[None]:
        """Make the edit where that is left to do, and offer to compare."""
        assert self._running is not None
        assert self._segmented is not None
        running, found, edit = self._running, filled.segmentation, filled.edit
        session, number = running.handover.session, filled.number
        if session is not None and edit is not None:
            session.apply(lambda _: edit)
            number = session.done[-1].number
        self.status.setText(filled.summary)
        if edit is not None:
            self.before_after.compare(
                Comparison(found.result.path, number, running.slide, running.transform)
            )
        if session is not None:
            return iter(())
        return show_steps(found, self._segmented, self._viewer.layers)

    def _show_layers(self, steps: Iterator[None]) -> None:
        """Take a step, let the window redraw, take the next one."""
        for _ in steps:
            QTimer.singleShot(_REDRAW, lambda: self._show_layers(steps))
            return
        self._clean_up(self.status.text())

    def _show_failure(self, error: Exception) -> None:
        if isinstance(error, UserError):
            self._show_problem(str(error))
        elif isinstance(error, Cancelled):
            self.status.setText(self._kept())
        else:
            reason = str(error).strip() or type(error).__name__
            self.status.setText(f"Segmentation failed: {reason.splitlines()[0]}")
            raise error  # napari shows it with its traceback

    def _kept(self) -> str:
        """Return what a cancelled run has left."""
        done, total = (0, 0) if self._begun is None else finished_tiles(self._begun.result)
        if not done:
            return "Cancelled. Nothing was changed."
        return f"Cancelled: {done} of {total} tiles are kept; Segment goes on from there."

    def _show_offer(self, line: str) -> None:
        """Say that a stopped run is there, or no longer."""
        if self._job is None and (line or self.status.text() == self._offered):
            self._offered = line
            self.status.setText(line)

    def _leave_viewer(self) -> None:
        """Remove what there is in the viewer only while it segments."""
        if self._view is not None:
            self._view.close()
        if self._live is not None:
            self._live.remove()
        self._view = self._live = None

    def _clean_up(self, line: str = "") -> None:
        self._leave_viewer()
        gc.unfreeze()
        self._follow_journals()
        self._job = self._running = None
        if self._notice is not None:
            self._notice.close()
            if line:
                self._notice.notify(line)
            self._notice = None
        self._set_running(False)
        self._show_result()
        self.finished.emit()

    def _follow_journals(self) -> None:
        """Note that what was painted is part of its result now."""
        painted = {} if self._running is None else self._running.painted
        for layer in self._viewer.layers:
            folder = result_of(layer)
            if folder is not None and folder in painted:
                layer.metadata["edits"] = journal_size(folder)

    def _show_problem(self, problem: str) -> None:
        self.status.setText(problem)
        show_error(problem)

    def _set_running(self, running: bool) -> None:
        self.form.setEnabled(not running)
        self.pages.setEnabled(not running)
        self.segment_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        self.progress.setRange(0, 0)

    def _show_page(self, page: int) -> None:
        self.form.show_many(page == 1)
        self._one.setVisible(page == 0)
        self.batch.setVisible(page == 1)

    def _on_batch(self, running: bool) -> None:
        self.form.setEnabled(not running)
        self.pages.setEnabled(not running)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.segment_button)
        buttons.addWidget(self.cancel_button)
        self.status.setWordWrap(True)
        one = QVBoxLayout(self._one)
        one.setContentsMargins(0, 0, 0, 0)
        one.addLayout(buttons)
        one.addWidget(self.progress)
        one.addWidget(self.status)
        one.addWidget(self.before_after)
        one.addWidget(self.result)
        column = QVBoxLayout(self.content)
        column.addWidget(self.pages)
        column.addWidget(self.form)
        column.addWidget(self._one)
        column.addWidget(self.batch)
        column.addStretch()
