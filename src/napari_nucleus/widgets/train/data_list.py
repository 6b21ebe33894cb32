"""Training data: results, dataset folders, GeoJSON files."""

from collections.abc import Iterable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

_HEIGHT = 84
"""Height in pixels: four rows."""

_PATH = Qt.ItemDataRole.UserRole


class DataList(QWidget):
    """A list of paths; the checked ones are used."""

    changed = Signal()
    """The checked paths have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setFixedHeight(_HEIGHT)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.add_button = QPushButton("Add")
        self.remove_button = QPushButton("Remove")
        self.list.setToolTip("Training data; only what is checked is used")
        self.add_button.setToolTip("Add results, dataset folders or QuPath GeoJSON files")
        self.remove_button.setToolTip("Remove the selected entries from the list; files stay")
        menu = QMenu(self.add_button)
        menu.addAction("Result or dataset folder…", self._choose_folder)
        menu.addAction("QuPath GeoJSON…", self._choose_files)
        self.add_button.setMenu(menu)
        self._removed: set[Path] = set()
        buttons = QHBoxLayout()
        buttons.addWidget(self.add_button)
        buttons.addWidget(self.remove_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(buttons)
        self.remove_button.clicked.connect(self.remove_selected)
        self.list.itemChanged.connect(lambda _: self.changed.emit())

    @property
    def paths(self) -> tuple[Path, ...]:
        """The checked paths, in the order of the list."""
        checked = (one for one in self._items() if one.checkState() == Qt.CheckState.Checked)
        return tuple(Path(one.data(_PATH)) for one in checked)

    def add(self, path: str | Path) -> None:
        """Add a path, or check it where it is listed already."""
        path = Path(path)
        self._removed.discard(path)
        item = next((one for one in self._items() if Path(one.data(_PATH)) == path), None)
        if item is None:
            item = QListWidgetItem(path.name)
            item.setData(_PATH, str(path))
            item.setToolTip(str(path))
            item.setCheckState(Qt.CheckState.Checked)
            self.list.addItem(item)
            self.changed.emit()
        else:
            item.setCheckState(Qt.CheckState.Checked)

    def offer(self, paths: Iterable[Path]) -> None:
        """Add paths that are neither listed nor were removed by the user."""
        listed = {Path(one.data(_PATH)) for one in self._items()}
        for path in paths:
            if path not in listed | self._removed:
                self.add(path)

    def remove_selected(self) -> None:
        """Remove the selected paths from the list."""
        for item in self.list.selectedItems():
            self._removed.add(Path(item.data(_PATH)))
            self.list.takeItem(self.list.row(item))
        self.changed.emit()

    def _items(self) -> list[QListWidgetItem]:
        items = (self.list.item(row) for row in range(self.list.count()))
        return [one for one in items if one is not None]

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Result or dataset folder")
        if path:
            self.add(path)

    def _choose_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "QuPath GeoJSON", "", "GeoJSON (*.geojson)")
        for path in paths:
            self.add(path)
