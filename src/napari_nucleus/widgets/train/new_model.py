"""A newly trained model: whether it is better than the original one, and its name."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.retraining import use_model

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained


class NewModelView(QWidget):
    """Offers a new model; hidden while there is none."""

    used = Signal(str)
    """A model was saved under this name."""

    def __init__(self) -> None:
        super().__init__()
        self._checkpoint: Path | None = None
        self._lower: tuple[str, ...] = ()
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.setStyleSheet("font-weight: bold")
        self.name = QLineEdit()
        self.name.setPlaceholderText("Name of the new model")
        self.name.setToolTip("Name under which the new model is listed")
        self.use_button = QPushButton("Use this model")
        self.use_button.setToolTip("Add it to the lists of models, here and in Segment nuclei")
        row = QHBoxLayout()
        row.addWidget(self.name, 1)
        row.addWidget(self.use_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.warning)
        column.addLayout(row)
        self.hide()

    def show_model(self, model: "Retrained", name: str, lower: tuple[str, ...]) -> None:
        """Show a model with a suggested name.

        Parameters
        ----------
        model : Retrained
            The model.
        name : str
            Suggested name.
        lower : tuple of str
            Scores that fell; with any, the user is asked before the model is used.
        """
        self._checkpoint, self._lower = model.checkpoint, lower
        self.warning.setText(f"Lower than with the original model: {'; '.join(lower)}.")
        self.warning.setVisible(bool(lower))
        self.name.setText(name)
        self.show()

    def use(self) -> Path | None:
        """Add the model to the list of models; None if the user decides against it.

        Raises
        ------
        UserError
            If the name is invalid or taken.
        """
        assert self._checkpoint is not None
        if self._lower and not self._confirmed():
            return None
        path = use_model(self._checkpoint, self.name.text())
        self.used.emit(path.stem)
        return path

    def _confirmed(self) -> bool:
        answer = QMessageBox.question(
            self,
            "Use this model",
            "On the validation regions, the new model scores lower than the original one. "
            f"{'; '.join(self._lower)}.\n\nUse it anyway?",
        )
        return answer == QMessageBox.StandardButton.Yes
