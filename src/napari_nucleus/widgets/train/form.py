"""What to train, and on what."""

from collections.abc import Iterable
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_nucleus.datasets import Source, find_types
from napari_nucleus.errors import UserError
from napari_nucleus.retraining import EPOCHS, LEARNING_RATES, Retraining
from napari_nucleus.weights.store import find_checkpoint, read_card
from napari_nucleus.widgets.shared.choices import ModelBox, shrinkable
from napari_nucleus.widgets.train.data_list import DataList

_PARTS = {
    "decoder": ("Outlines, classes", "The decoder; features of the encoder are computed once"),
    "types": ("Classes only", "The type branch; outlines stay as they are"),
    "all": ("Everything", "Encoder and decoder: slow, for tissue or stains unlike those known"),
}


class TrainingForm(QWidget):
    """The fields of a `Retraining`."""

    def __init__(self) -> None:
        super().__init__()
        self.data = DataList()
        self.model = ModelBox()
        self.types = QLineEdit()
        self.types.setToolTip("Names with commas between them; none learns outlines alone")
        self.types.setPlaceholderText("none: outlines alone")
        self.types_button = QPushButton("From data")
        self.types_button.setToolTip("Take the classes that the data have")
        self.part = QComboBox()
        for i, (part, (name, told)) in enumerate(_PARTS.items()):
            self.part.addItem(name, part)
            self.part.setItemData(i, told, Qt.ItemDataRole.ToolTipRole)
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 10_000)
        self.epochs.setValue(EPOCHS)
        self.lr = QDoubleSpinBox()
        self.lr.setDecimals(6)
        self.lr.setRange(1e-6, 1)
        self.lr.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.device = QComboBox()
        self.device.addItem("Automatic", None)
        self._lay_out()
        self._on_model()
        self._on_part()
        self.model.currentIndexChanged.connect(self._on_model)
        self.part.currentIndexChanged.connect(self._on_part)
        self.types_button.clicked.connect(self.take_types)

    def retraining(self) -> Retraining:
        """Return what the fields say.

        Raises
        ------
        UserError
            If no model is chosen.
        """
        model = self.model.checkpoint
        if model is None:
            raise UserError("No model is chosen: choose one, or weights from a file.")
        names = (name.strip() for name in self.types.text().split(","))
        return Retraining(
            data=self.data.paths,
            model=model,
            types=tuple(dict.fromkeys(filter(None, names))),
            train=self.part.currentData(),
            epochs=self.epochs.value(),
            lr=self.lr.value(),
            device=self.device.currentData(),
        )

    def take_types(self) -> None:
        """Take the classes of the data; large files are read meanwhile."""
        sources = [Source(path=path) for path in self.data.paths]
        self.types_button.setEnabled(False)
        create_worker(_find_types, sources, _connect={"returned": self._on_types})

    def add_devices(self, found: dict[str, str]) -> None:
        """Offer devices, name for the user to name for torch."""
        for name, device in found.items():
            self.device.addItem(name, device)

    def _on_types(self, found: Any) -> None:
        self.types_button.setEnabled(True)
        if isinstance(found, UserError):
            show_error(str(found))
        elif isinstance(found, Exception):
            raise found
        else:
            self._show_types(found)

    def _show_types(self, names: Iterable[str]) -> None:
        self.types.setText(", ".join(names))
        self.types.setCursorPosition(0)

    def _on_model(self) -> None:
        """Take the classes of the model."""
        if self.model.checkpoint is None:
            return
        try:
            card = read_card(find_checkpoint(self.model.checkpoint))
        except UserError:  # told when it is used
            return
        self._show_types(card["types"])

    def _on_part(self) -> None:
        self.lr.setValue(LEARNING_RATES[self.part.currentData()])

    def _lay_out(self) -> None:
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        classes = QHBoxLayout()
        classes.addWidget(self.types)
        classes.addWidget(self.types_button)
        rows.addRow("Learn from", self.data)
        rows.addRow("Start from", self.model)
        rows.addRow("Classes", classes)
        rows.addRow("Train", shrinkable(self.part))
        rows.addRow("Epochs", self.epochs)
        rows.addRow("Learning rate", self.lr)
        rows.addRow("Device", self.device)


def _find_types(sources: list[Source]) -> tuple[str, ...] | Exception:
    try:
        return find_types(sources)
    except Exception as error:
        # napari takes a RuntimeError for a sign that the window was closed, and drops it.
        return error
