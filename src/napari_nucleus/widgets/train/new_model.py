"""A newly trained model: scores before and after, and its name."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.retraining import use_model

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained

_SCORES = {
    "pq": "Segmentation (PQ)",
    "aji": "Segmentation (AJI)",
    "f1d": "Detection (F1)",
    "f1": "Classification (F1)",
}


class NewModelView(QWidget):
    """Shows a new model; hidden while there is none."""

    used = Signal(str)
    """A model was saved under this name."""

    def __init__(self) -> None:
        super().__init__()
        self._checkpoint: Path | None = None
        self.scores = QLabel()
        self.scores.setToolTip(
            "Scores on the validation regions.\n"
            "Agreement with the original model (PQ): "
            "reference image, not in the training data; 1.000 = unchanged."
        )
        self.name = QLineEdit()
        self.name.setPlaceholderText("Name of the new model")
        self.use_button = QPushButton("Use this model")
        self.use_button.setToolTip("Add it to the lists of models, here and in Segment nuclei")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.scores)
        column.addWidget(self.name)
        column.addWidget(self.use_button)
        self.show_model(None, "")

    def show_model(self, model: "Retrained | None", name: str) -> None:
        """Show a model with a suggested name, or nothing."""
        self.setVisible(model is not None)
        self._checkpoint = None if model is None else model.checkpoint
        self.name.setText(name)
        if model is not None:
            self.scores.setText(score_table(model))

    def use(self) -> Path:
        """Add the model to the list of models.

        Raises
        ------
        UserError
            If the name is invalid or taken.
        """
        assert self._checkpoint is not None
        path = use_model(self._checkpoint, self.name.text())
        self.used.emit(path.stem)
        return path


def score_table(model: "Retrained") -> str:
    """Return the scores before and after as HTML."""
    rows = ["<tr><td></td><td>before</td><td>after</td><td></td></tr>"]
    for key, name in _SCORES.items():
        if key in model.before and key in model.after:
            before, after = model.before[key], model.after[key]
            rows.append(
                f"<tr><td>{name}</td><td>{before:.3f}</td>"
                f"<td><b>{after:.3f}</b></td><td>{after - before:+.3f}</td></tr>"
            )
    if model.agreement is not None:
        rows.append(
            "<tr><td>Agreement with<br>the original<br>model (PQ)</td>"
            f"<td>1.000</td><td><b>{model.agreement:.3f}</b></td>"
            f"<td>{model.agreement - 1:+.3f}</td></tr>"
        )
    return f'<table cellspacing="2">{"".join(rows)}</table>'
