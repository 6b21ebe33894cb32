"""Summary of a result: legend, folder, table and CSV."""

from pathlib import Path

from napari.layers import Labels
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import Qt, QUrl
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.results.export import write_csv
from napari_nucleus.widgets.shared.legend import Legend

# Readable on napari's dark and light themes; Qt's own blue is not.
_LINK = "#3d9be9"

# In pixels: napari would open the table at the height of its header.
_TABLE_HEIGHT = 260


class ResultView(QWidget):
    """Shows a `nuclei` layer's legend and files; hidden while there is none.

    Parameters
    ----------
    viewer : Viewer
        The viewer with the layer.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._nuclei: Labels | None = None
        self.legend = Legend()
        self.folder = QLabel()
        self.csv_button = QPushButton("Save CSV…")
        self.table_button = QPushButton("Show table")
        self.csv_button.setToolTip("Save the table of nuclei as CSV")
        self.table_button.setToolTip("Show the table of nuclei below the image")
        self.csv_button.clicked.connect(self._choose_csv)
        self.table_button.clicked.connect(self.show_table)
        self.folder.setOpenExternalLinks(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.csv_button)
        buttons.addWidget(self.table_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.legend)
        column.addWidget(self.folder)
        column.addLayout(buttons)
        self.show_nuclei(None)

    def show_nuclei(self, nuclei: Labels | None) -> None:
        """Show the result of a layer made by `nuclei_layers`, or nothing."""
        self._nuclei = nuclei
        self.setVisible(nuclei is not None)
        if nuclei is None:
            return
        self.legend.show_types(nuclei.metadata["types"], nuclei.metadata["counts"])
        path = Path(nuclei.metadata["result"])
        link = QUrl.fromLocalFile(str(path)).toString()
        self.folder.setText(f'Saved in <a href="{link}" style="color: {_LINK}">{path.name}</a>')
        self.folder.setToolTip(str(path))

    def save_csv(self, path: str | Path) -> None:
        """Write the table.

        Raises
        ------
        UserError
            If there is no result, or the file cannot be written.
        """
        if self._nuclei is None:
            raise UserError("No table yet: segment the image first.")
        write_csv(open_result(self._nuclei.metadata["result"]), path)

    def show_table(self) -> None:
        """Open napari's table of the layer's features below the canvas."""
        self._viewer.layers.selection.active = self._nuclei
        dock, _ = self._viewer.window.add_plugin_dock_widget("napari", "Features table widget")
        window = dock.parent()
        window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
        window.resizeDocks([dock], [_TABLE_HEIGHT], Qt.Orientation.Vertical)

    def _choose_csv(self) -> None:
        proposal = Path(self.folder.toolTip()).with_suffix(".csv")
        path, _ = QFileDialog.getSaveFileName(
            self, "Save table of nuclei", str(proposal), "Table (*.csv)"
        )
        if path:
            try:
                self.save_csv(path)
            except UserError as error:
                show_error(str(error))
