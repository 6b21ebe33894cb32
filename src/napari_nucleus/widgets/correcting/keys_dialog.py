"""The list of keys."""

from html import escape

from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_nucleus.widgets.correcting.keys import KEYS

_KEY, _TEXT = 130, 430  # widths in pixels


class KeysDialog(QDialog):
    """Shows all keys; stays open beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys of Correct nuclei")
        rows = []
        for title, keys in KEYS.items():
            rows.append(f"<tr><td colspan='2'><br><b>{title}</b></td></tr>")
            rows += [
                f"<tr><td width='{_KEY}'>{escape(key.shown)}</td>"
                f"<td width='{_TEXT}'>{escape(key.does)}</td></tr>"
                for key in keys
            ]
        # The cells of the table break lines: a label that does gets its height wrong.
        text = QLabel(f"<table cellpadding='2'>{''.join(rows)}</table>")
        QVBoxLayout(self).addWidget(text)
