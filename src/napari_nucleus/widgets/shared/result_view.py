"""Summary of a result: legend, folder, table and CSV."""

from pathlib import Path
from typing import Any

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QUrl
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.edits import annotations
from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.results.export import write_csv
from napari_nucleus.widgets.shared.layers import (
    hide_types,
    is_classes,
    labels_of,
    layers_of,
    result_of,
)
from napari_nucleus.widgets.shared.legend import Legend
from napari_nucleus.widgets.shared.nuclei_table import open_table
from napari_nucleus.widgets.shared.nucleus_colors import hidden_types
from napari_nucleus.widgets.shared.result_edit import edit_result
from napari_nucleus.widgets.shared.save_csv import CsvButton
from napari_nucleus.widgets.shared.shown_results import shown_results

# Readable on napari's dark and light themes; Qt's own blue is not.
_LINK = "#3d9be9"


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
        self.csv_button = CsvButton(lambda: Path(self.folder.toolTip()))
        self.table_button = QPushButton("Table…")
        self.table_button.setToolTip("Open the table of nuclei below the image")
        self.table_button.clicked.connect(self.show_table)
        self.legend.hidden_changed.connect(self._on_hidden)
        self.legend.filled.connect(self._on_filled)
        self.legend.recolored.connect(self._on_recolored)
        shown_results.changed.connect(self._on_result_changed)
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
        self._show_legend()
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
        """Open the table of the nuclei below the canvas."""
        if self._nuclei is not None:
            open_table(self._viewer, self._nuclei)

    def _show_legend(self) -> None:
        assert self._nuclei is not None
        known = self._nuclei.metadata
        self.legend.show_types(known["types"], known["counts"], hidden_types(self._nuclei))
        classes = labels_of(result_of(self._nuclei), "classes", self._viewer.layers)
        if classes is not None:
            self.legend.show_fill(classes.opacity)
            classes.events.opacity.connect(self._on_opacity)

    def _on_result_changed(self, folder: Path) -> None:
        if self._nuclei is not None and result_of(self._nuclei) == folder:
            self._show_legend()

    def _on_opacity(self, event: Any) -> None:
        if self._nuclei is not None and result_of(event.source) == result_of(self._nuclei):
            self.legend.show_fill(event.source.opacity)

    @property
    def _layers(self) -> list[Labels]:
        folder = None if self._nuclei is None else result_of(self._nuclei)
        return [] if folder is None else layers_of(folder, self._viewer.layers)

    def _on_filled(self, opacity: float) -> None:
        for layer in filter(is_classes, self._layers):
            layer.opacity = opacity

    def _on_hidden(self, hidden: list[str]) -> None:
        if self._nuclei is not None and (folder := result_of(self._nuclei)) is not None:
            hide_types(folder, hidden, self._viewer.layers)

    def _on_recolored(self, name: str, color: str) -> None:
        if self._nuclei is not None:
            layers = self._viewer.layers
            edit_result(layers, self._nuclei, annotations.recolor_type, name, color)
