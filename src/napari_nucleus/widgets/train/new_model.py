"""What a training has made: scores before and after, and a name for the model."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.retraining import use_model

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained

_SCORES = {
    "pq": "Outlines (PQ)",
    "aji": "Outlines (AJI)",
    "f1d": "Detection (F1)",
    "f1": "Classes (F1)",
}


class MadeView(QWidget):
    """Shows what was made; hidden while there is nothing."""

    used = Signal(str)
    """A model has got this name."""

    def __init__(self) -> None:
        super().__init__()
        self._checkpoint: Path | None = None
        self.scores = QLabel()
        self.scores.setToolTip(
            "Scores on what was held out of training. Old sample: tissue that was not trained on, "
            "and how far the new model still sees the nuclei there that the old one saw"
        )
        self.name = QLineEdit()
        self.name.setPlaceholderText("Name of the new model")
        self.use_button = QPushButton("Use this model")
        self.use_button.setToolTip("Puts it into the lists of models, here and under Segment")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.scores)
        column.addWidget(self.name)
        column.addWidget(self.use_button)
        self.show_made(None, "")

    def show_made(self, made: "Retrained | None", name: str) -> None:
        """Show what was made, with a proposal for its name, or nothing."""
        self.setVisible(made is not None)
        self._checkpoint = None if made is None else made.checkpoint
        self.name.setText(name)
        if made is not None:
            self.scores.setText(table(made))

    def use(self) -> Path:
        """Put the model into the list of models.

        Raises
        ------
        UserError
            If the name is none or taken.
        """
        assert self._checkpoint is not None
        path = use_model(self._checkpoint, self.name.text())
        self.used.emit(path.stem)
        return path


def table(made: "Retrained") -> str:
    """Return the scores before and after as HTML."""
    rows = ["<tr><td><b>Held out</b></td><td>before</td><td></td><td>after</td><td></td></tr>"]
    for key, name in _SCORES.items():
        if key in made.before and key in made.after:
            before, after = made.before[key], made.after[key]
            rows.append(
                f"<tr><td>{name}</td><td>{before:.3f}</td><td>→</td>"
                f"<td><b>{after:.3f}</b></td><td>{after - before:+.3f}</td></tr>"
            )
    if made.old is not None:
        rows.append(
            "<tr><td><b>Old sample</b><br>Same nuclei (PQ)</td>"
            f"<td>1.000</td><td>→</td><td><b>{made.old:.3f}</b></td>"
            f"<td>{made.old - 1:+.3f}</td></tr>"
        )
    return f'<table cellspacing="2">{"".join(rows)}</table>'
