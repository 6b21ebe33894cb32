"""The form of the widget *Train model*."""

from collections.abc import Iterable

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
from napari_nucleus.retraining import EPOCHS, LEARNING_RATES, Retraining, parse_types
from napari_nucleus.weights.store import find_checkpoint, read_card
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.choices import ModelChoice, shrinkable
from napari_nucleus.widgets.shared.device_choice import DeviceChoice
from napari_nucleus.widgets.train.data_list import DataList

_PARTS = {
    "decoder": ("Decoder", "Segmentation and classification; the encoder is frozen (fast)"),
    "types": ("Classification only", "The type branch; the segmentation stays unchanged"),
    "all": ("Whole network", "Encoder and decoder (slow): for unfamiliar tissues or stains"),
}


class TrainingForm(QWidget):
    """The fields of a `Retraining`."""

    def __init__(self) -> None:
        super().__init__()
        self.data = DataList()
        self.model = ModelChoice()
        self.types = QLineEdit()
        self.types.setToolTip("Comma-separated names; leave empty to train segmentation only")
        self.types.setPlaceholderText("segmentation only")
        self.types_button = QPushButton("From data")
        self.types_button.setToolTip("Use the classes of the training data")
        self.part = QComboBox()
        self.part.setToolTip("Part of the network that is trained")
        for i, (part, (name, tooltip)) in enumerate(_PARTS.items()):
            self.part.addItem(name, part)
            self.part.setItemData(i, tooltip, Qt.ItemDataRole.ToolTipRole)
        self.epochs = QSpinBox()
        self.epochs.setRange(1, 10_000)
        self.epochs.setValue(EPOCHS)
        self.epochs.setToolTip("Passes through the training data")
        self.lr = QDoubleSpinBox()
        self.lr.setToolTip("Peak learning rate; it is set to a tried value with Train above")
        self.lr.setDecimals(6)
        self.lr.setRange(1e-6, 1)
        self.lr.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.device = DeviceChoice()
        self._lay_out()
        self._on_model()
        self._on_part()
        self.model.currentIndexChanged.connect(self._on_model)
        self.part.currentIndexChanged.connect(self._on_part)
        self.types_button.clicked.connect(self.take_types)

    def retraining(self) -> Retraining:
        """Return the values of the form.

        Raises
        ------
        UserError
            If no model is chosen.
        """
        model = self.model.checkpoint
        if model is None:
            raise UserError("No model selected: choose one, or load weights from a file.")
        return Retraining(
            data=self.data.paths,
            model=model,
            types=parse_types(self.types.text()),
            train=self.part.currentData(),
            epochs=self.epochs.value(),
            lr=self.lr.value(),
            device=self.device.device,
        )

    def take_types(self) -> None:
        """Enter the classes of the data, which are read in the background."""
        sources = [Source(path=path) for path in self.data.paths]
        self.types_button.setEnabled(False)
        in_background(find_types, sources, then=self._on_types)

    def _on_types(self, found: Iterable[str] | Failure) -> None:
        self.types_button.setEnabled(True)
        if not isinstance(found, Failure):
            self._show_types(found)
        elif isinstance(found.error, UserError):
            show_error(str(found.error))
        else:
            raise found.error

    def _show_types(self, names: Iterable[str]) -> None:
        self.types.setText(", ".join(names))
        self.types.setCursorPosition(0)

    def _on_model(self) -> None:
        """Enter the classes of the model."""
        if self.model.checkpoint is None:
            return
        try:
            card = read_card(find_checkpoint(self.model.checkpoint))
        except UserError:  # reported when the model is used
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
        rows.addRow("Data", self.data)
        rows.addRow("Initial model", self.model)
        rows.addRow("", self.model.summary)
        rows.addRow("Classes", classes)
        rows.addRow("Train", shrinkable(self.part))
        rows.addRow("Epochs", self.epochs)
        rows.addRow("Learning rate", self.lr)
        rows.addRow("Device", self.device)
