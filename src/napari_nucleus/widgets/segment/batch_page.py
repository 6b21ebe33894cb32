"""Many images, segmented one after the other."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari.components import ViewerModel
from napari.utils.notifications import show_error
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.slides import is_slide_folder, slides_in
from napari_nucleus.slides.formats import SUFFIXES
from napari_nucleus.widgets.shared.background import (
    Cancelled,
    CancelToken,
    Failure,
    Job,
    cancellable,
    start_job,
)
from napari_nucleus.widgets.shared.choices import MppField
from napari_nucleus.widgets.shared.job_notice import JobNotice

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress
    from napari_nucleus.inference.batch import Outcome

_FILTER = f"Slides ({' '.join(f'*{suffix}' for suffix in SUFFIXES)});;All files (*)"

_RESULT = Qt.ItemDataRole.UserRole
_WAITING, _FAILURE = "waiting", "failed: "
_FAILED = "#ff7b72"
_HEIGHT = 140
"""Of the list in pixels, at least."""


@dataclass(frozen=True)
class BatchSettings:
    """How all images are segmented.

    Attributes
    ----------
    model : str or Path
        Checkpoint.
    tissue : "all" or None
        None leaves out glass.
    device : str or None
        None takes the GPU where there is one.
    folder : Path or None
        Folder for the results, None for that of each image.
    """

    model: str | Path
    tissue: Literal["all"] | None
    device: str | None
    folder: Path | None


class BatchPage(QWidget):
    """A list of images with their progress; finished ones open by double click.

    Parameters
    ----------
    viewer : ViewerModel
        Opens results.
    settings : callable
        Returns the `BatchSettings`; raises `UserError`.
    """

    running = Signal(bool)
    """The images are being segmented, or are no longer."""

    def __init__(self, viewer: ViewerModel, settings: Callable[[], BatchSettings]) -> None:
        super().__init__()
        self._viewer = viewer
        self._settings = settings
        self._job: Job | None = None
        self._notice: JobNotice | None = None
        self._row: QTreeWidgetItem | None = None  # of the image in hand
        self.list = QTreeWidget()
        self.mpp = MppField()
        self.files_button = QPushButton("Add files…")
        self.folder_button = QPushButton("Add folder…")
        self.remove_button = QPushButton("Remove")
        self.segment_button = QPushButton("Segment all")
        self.stop_button = QPushButton("Stop")
        self.status = QLabel()
        self._lay_out()
        self._set_running(False)
        self.files_button.clicked.connect(self._choose_files)
        self.folder_button.clicked.connect(self._choose_folder)
        self.remove_button.clicked.connect(self._remove)
        self.segment_button.clicked.connect(self.segment)
        self.stop_button.clicked.connect(self.stop)
        self.list.itemDoubleClicked.connect(self._open)

    @property
    def images(self) -> list[Path]:
        """The listed images."""
        return [Path(row.toolTip(0)) for row in self._rows]

    def add(self, paths: Iterable[str | Path]) -> None:
        """List images, and those in folders, that are not listed yet.

        Parameters
        ----------
        paths : iterable of str or Path
            Files and folders.
        """
        known = set(self.images)
        for path in (image for one in paths for image in _images_of(Path(one))):
            if path in known:
                continue
            known.add(path)
            row = QTreeWidgetItem([path.name, _WAITING])
            row.setToolTip(0, str(path))
            self.list.addTopLevelItem(row)
        self.status.setText(f"{len(self.images)} images")

    def segment(self) -> None:
        """Segment what is not finished, or say in one line what is missing."""
        try:
            settings, mpp = self._settings(), self.mpp.mpp
            if not self.images:
                raise UserError("No images: add files or a folder.")
        except UserError as error:
            self.status.setText(str(error))
            show_error(str(error))
            return
        for row in self._rows:
            _tell(row, _WAITING)
            row.setData(0, _RESULT, None)
        images = self.images

        def steps(token: CancelToken) -> Generator["Path | Progress | Outcome", None, None]:
            from napari_nucleus.inference.batch import segment_many

            token.commit()
            many = segment_many(
                images,
                settings.folder,
                settings.model,
                mpp=mpp,
                tissue=settings.tissue,
                device=settings.device,
            )
            yield from cancellable(many, token)

        self._set_running(True)
        self.status.setText("Starting…")
        self._notice = JobNotice(f"Segmenting {len(images)} images")
        self._job = start_job(steps, self._on_step, self._on_end)

    def stop(self) -> None:
        """Stop; finished tiles and images are kept."""
        if self._job is None:
            return
        if self._job.cancel():
            self.stop_button.setEnabled(False)
            self.status.setText("Stopping…")
        else:
            self._on_end(Failure(Cancelled()))

    @property
    def _finished(self) -> int:
        return sum(row.data(0, _RESULT) is not None for row in self._rows)

    @property
    def _failed(self) -> int:
        return sum(row.text(1).startswith(_FAILURE) for row in self._rows)

    @property
    def _rows(self) -> list[QTreeWidgetItem]:
        found = (self.list.topLevelItem(n) for n in range(self.list.topLevelItemCount()))
        return [row for row in found if row is not None]

    def _on_step(self, step: "Path | Progress | Outcome") -> None:
        from napari_nucleus.inference.batch import Outcome

        if isinstance(step, Path):
            self._row = self._rows[self.images.index(step)]
            self._row.setText(1, "reading…")
            self.list.scrollToItem(self._row)
        elif isinstance(step, Outcome):
            self._show_outcome(step)
        elif self._row is not None:
            percent = f"{step.done / step.total:.0%}" if step.total else ""
            self._row.setText(1, "saving…" if step.joined else f"{percent}, {step.nuclei:,} nuclei")

    def _show_outcome(self, outcome: "Outcome") -> None:
        row, self._row = self._row, None
        assert row is not None
        if outcome.result is None:
            if isinstance(outcome.error, Cancelled):
                self._row = row  # it says how far it came
                return
            reason = str(outcome.error).strip() or type(outcome.error).__name__
            reason = reason.splitlines()[0].removeprefix(outcome.image.name).strip()
            _tell(row, f"{_FAILURE}{reason}", _FAILED)
        else:
            _tell(row, f"{outcome.result.run['counts']['nuclei']:,} nuclei")
            if outcome.was_finished:
                row.setToolTip(1, "Finished before")
            row.setData(0, _RESULT, str(outcome.result.path))
        done, total = self._finished + self._failed, len(self.images)
        left = self._notice.update(done, total) if self._notice else ""
        if self._job is None:  # napari lets the window go on meanwhile, to the end
            return
        self.status.setText(", ".join(filter(None, [f"{done} of {total} images", left])))

    def _on_end(self, outcome: Failure | None) -> None:
        row, self._row, self._job = self._row, None, None
        line = f"{self._finished} of {len(self.images)} images are segmented"
        self._set_running(False)
        if not isinstance(outcome, Failure):
            failed = f", {self._failed} failed" if self._failed else ""
            self.status.setText(f"{line}{failed}.")
            self._close_notice(self.status.text())
            return
        self._close_notice("")
        if row is not None:
            row.setText(1, f"stopped: {row.text(1)}")
        if isinstance(outcome.error, Cancelled):
            self.status.setText(f"Stopped: {line}; Segment all goes on from there.")
            return
        self.status.setText(str(outcome.error))
        if not isinstance(outcome.error, UserError):
            raise outcome.error  # napari shows it with its traceback
        show_error(str(outcome.error))

    def _close_notice(self, line: str) -> None:
        if self._notice is not None:
            self._notice.close()
            if line:
                self._notice.notify(line)
            self._notice = None

    def _set_running(self, running: bool) -> None:
        for button in (self.files_button, self.folder_button, self.remove_button, self.mpp):
            button.setEnabled(not running)
        self.segment_button.setEnabled(not running)
        self.stop_button.setEnabled(running)
        self.running.emit(running)

    def _open(self, row: QTreeWidgetItem) -> None:
        if (result := row.data(0, _RESULT)) is not None:
            self._viewer.open(result, plugin="napari-nucleus")

    def _remove(self) -> None:
        for row in self.list.selectedItems():
            self.list.takeTopLevelItem(self.list.indexOfTopLevelItem(row))

    def _choose_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Add images", "", _FILTER)
        self.add(files)

    def _choose_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Add the images of a folder"):
            self.add([folder])

    def _lay_out(self) -> None:
        self.list.setHeaderLabels(["Image", "State"])
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setItemDelegateForColumn(1, _Sentence(self.list))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setMinimumHeight(_HEIGHT)
        self.list.setToolTip("Double-click a finished image to open its result")
        header = self.list.header()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.mpp.setSpecialValueText("from the files")
        self.files_button.setToolTip("Add images")
        self.folder_button.setToolTip("Add all images of a folder")
        self.remove_button.setToolTip("Take the selected images off the list")
        self.segment_button.setToolTip("Segment every image that is not finished")
        self.stop_button.setToolTip("Stop; what is finished is kept")
        self.status.setWordWrap(True)
        adding, going = QHBoxLayout(), QHBoxLayout()
        for button in (self.files_button, self.folder_button, self.remove_button):
            adding.addWidget(button)
        for button in (self.segment_button, self.stop_button):
            going.addWidget(button)
        form = QFormLayout()
        form.addRow("µm/px", self.mpp)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(adding)
        column.addWidget(self.list)
        column.addLayout(form)
        column.addLayout(going)
        column.addWidget(self.status)


class _Sentence(QStyledItemDelegate):
    """Cuts off the end of a text that is too long, not its middle as that of a name."""

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        if option is not None:
            option.textElideMode = Qt.TextElideMode.ElideRight


def _tell(row: QTreeWidgetItem, text: str, color: str | None = None) -> None:
    row.setText(1, text)
    row.setToolTip(1, text)
    row.setForeground(1, QBrush() if color is None else QBrush(QColor(color)))


def _images_of(path: Path) -> list[Path]:
    """Return an image, or the images of a folder."""
    path = path.absolute()
    if not path.is_dir() or is_slide_folder(path):
        return [path]
    found = (one for one in slides_in(path) if not one.name.startswith("."))
    return [one for one in found if one.is_dir() or one.suffix.lower() in SUFFIXES]
