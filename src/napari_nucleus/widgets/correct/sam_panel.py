"""Adding nuclei: by SAM where the user has its weights, fetched by one consent or from a file."""

from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import UserError
from napari_nucleus.weights.sam import SAM_WEIGHTS, check_sam, fetch_sam, find_sam
from napari_nucleus.widgets.shared.background import Failure, in_background

_NAME = "vit_t"


class SamPanel(QWidget):
    """Says what outlines the nuclei that are added, and gets SAM's weights.

    Attributes
    ----------
    file
        The weights, None without them.
    """

    changed = Signal()
    """The weights are there, or others were chosen."""
    _came = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self.file: Path | None = None
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.fetch_button = QPushButton("Download MobileSAM…")
        self.file_button = QPushButton("From file…")
        self.fetch_button.setToolTip("Download the weights of MobileSAM, once; you are asked first")
        self.file_button.setToolTip("Use weights of MobileSAM from a file")
        self.progress = QProgressBar()
        self.progress.hide()
        self._fetching = False
        self._waiting = 0
        self.fetch_button.clicked.connect(self._ask)
        self.file_button.clicked.connect(self._choose)
        self._came.connect(self._on_progress)
        buttons = QHBoxLayout()
        buttons.addWidget(self.fetch_button)
        buttons.addWidget(self.file_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        try:
            self.file = find_sam(_NAME)
        except UserError:  # not there yet: what the buttons are for
            self.file = None
        self._show()

    def show_waiting(self, count: int) -> None:
        """Show how many nuclei are being outlined."""
        self._waiting = count
        self._show()

    def fetch(self) -> None:
        """Download the weights; the user has consented."""
        self._fetching = True
        self.progress.setRange(0, 0)
        self._show()
        in_background(fetch_sam, _NAME, self._came.emit, then=self._on_file)

    def choose_file(self, path: Path) -> None:
        """Take SAM's weights from a file.

        Raises
        ------
        UserError
            If it is damaged.
        """
        check_sam(find_sam(path))
        self._take(path)

    def _take(self, path: Path) -> None:
        self.file = path
        self._show()
        self.changed.emit()

    def _ask(self) -> None:
        weights = SAM_WEIGHTS[_NAME]
        answer = QMessageBox.question(
            self,
            "Download MobileSAM",
            f"Download {weights.title} ({weights.size / 1e6:.0f} MB, Apache-2.0) from\n"
            f"{weights.url}?\n\nImages stay on this computer.",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.fetch()

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "SAM's weights", "", "Weights (*.pt *.pth)")
        if path:
            try:
                self.choose_file(Path(path))
            except UserError as error:
                show_error(str(error))

    def _on_progress(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def _on_file(self, found: Path | Failure) -> None:
        self._fetching = False
        self._show()
        if not isinstance(found, Failure):
            self._take(found)
        elif isinstance(found.error, UserError):
            show_error(str(found.error))
        else:
            raise found.error

    def _show(self) -> None:
        outlined = "the network" if self.file is None else f"SAM ({self.file.name})"
        better = " SAM gives better outlines." if self.file is None else ""
        nuclei = "a nucleus" if self._waiting == 1 else f"{self._waiting} nuclei"
        outlining = f"Outlining {nuclei}…" if self._waiting else ""
        self.text.setText(outlining or f"Outlined by {outlined}.{better}")
        self.fetch_button.setVisible(self.file is None)
        self.fetch_button.setEnabled(not self._fetching)
        self.file_button.setEnabled(not self._fetching)
        self.progress.setVisible(self._fetching)
