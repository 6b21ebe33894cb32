"""Save the table of a result as CSV, where the user wants it."""

from collections.abc import Callable
from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.results.export import write_csv
from napari_nucleus.widgets.shared.background import Failure, in_background

_TEXT = "Save CSV…"


class CsvButton(QPushButton):
    """Asks for a file and writes the table of a result into it, while the window goes on.

    Parameters
    ----------
    folder : callable
        Returns the result folder, None without one.
    """

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        super().__init__(_TEXT)
        self._folder = folder
        self.setToolTip("Save the table of all nuclei of the result, one row per nucleus")
        self.clicked.connect(self._choose)

    def _choose(self) -> None:
        if (folder := self._folder()) is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save table of nuclei", str(folder.with_suffix(".csv")), "Table (*.csv)"
        )
        if path:
            self.setEnabled(False)
            self.setText("Saving…")
            in_background(_write, folder, path, then=self._on_written)

    def _on_written(self, outcome: Failure | None) -> None:
        self.setEnabled(True)
        self.setText(_TEXT)
        if outcome is None:
            return
        if not isinstance(outcome.error, UserError):
            raise outcome.error
        show_error(str(outcome.error))


def _write(folder: Path, path: str) -> None:
    write_csv(open_result(folder), path)
