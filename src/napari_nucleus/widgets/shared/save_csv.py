"""Save the table of a result as CSV, where the user wants it."""

from pathlib import Path

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.results.export import write_csv


def choose_csv(parent: QWidget, folder: Path) -> None:
    """Ask for a file, and write the table of the result in `folder` into it."""
    path, _ = QFileDialog.getSaveFileName(
        parent, "Save table of nuclei", str(folder.with_suffix(".csv")), "Table (*.csv)"
    )
    if path:
        try:
            write_csv(open_result(folder), path)
        except UserError as error:
            show_error(str(error))
