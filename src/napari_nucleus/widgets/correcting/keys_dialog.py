"""The list of keys."""

from html import escape

from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_nucleus.widgets.correcting.keys import KEYS


class KeysDialog(QDialog):
    """Shows all keys; stays open beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of Correct nuclei")
        rows = []
        for title, keys in KEYS.items():
            rows.append(f"<tr><td colspan='2'><br><b>{title}</b></td></tr>")
            rows += [
                f"<tr><td>{escape(key.shown)}</td><td>{escape(key.does)}</td></tr>" for key in keys
            ]
        text = QLabel(f"<table cellpadding='2'>{''.join(rows)}</table>")
        QVBoxLayout(self).addWidget(text)
