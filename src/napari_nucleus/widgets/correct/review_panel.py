"""The nucleus under review, and what to do with it."""

import pandas as pd
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSpinBox, QWidget

from napari_nucleus.widgets.correct.review_queue import ReviewQueue
from napari_nucleus.widgets.shared.preferences import preferences
from napari_nucleus.widgets.shared.steady_label import SteadyLabel


class ReviewPanel(QWidget):
    """Buttons of the review of uncertain nuclei."""

    switched = Signal(bool)
    """Whether the review begins; else it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.toggle_button = QPushButton("Review uncertain nuclei")
        self.toggle_button.setCheckable(True)
        self.toggle_button.setToolTip(
            "Go through the nuclei that the network is least certain of (N)"
        )
        self.toggle_button.clicked.connect(self.switched.emit)
        self.count = QSpinBox()
        self.count.setRange(1, 100_000)
        self.count.setValue(preferences().reviewed)
        self.count.setToolTip("How many nuclei to review, the most uncertain first")
        self.text = SteadyLabel(lines=3)
        self.back_button = QPushButton("Back  B")
        self.next_button = QPushButton("Skip  N")
        self.accept_button = QPushButton("Accept  Y")
        self.delete_button = QPushButton("Delete")
        self.back_button.setToolTip("Go back to the nucleus before (B)")
        self.next_button.setToolTip("Leave this nucleus as it is and go on (N)")
        self.accept_button.setToolTip("Accept this nucleus and go on (Y)")
        self.delete_button.setToolTip("Delete this nucleus and go on (Delete or Backspace)")
        self._steps = (self.back_button, self.next_button, self.accept_button, self.delete_button)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.toggle_button, 0, 0, 1, 3)
        grid.addWidget(self.count, 0, 3)
        grid.addWidget(self.text, 1, 0, 1, 4)
        for column, button in enumerate(self._steps):
            grid.addWidget(button, 2, column)
        for button in (self.toggle_button, *self._steps):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def show_queue(self, queue: ReviewQueue | None, row: pd.Series | None) -> None:
        """Show the progress of the review.

        Parameters
        ----------
        queue : ReviewQueue or None
            The queue, None outside of a review.
        row : pd.Series or None
            The nucleus under review, None where there is none any more.
        """
        self.toggle_button.setChecked(queue is not None)
        self.count.setEnabled(queue is None)
        for widget in (self.text, *self._steps):
            widget.setVisible(queue is not None)
        if queue is None:
            return
        current = queue.current
        for button in (self.next_button, self.accept_button, self.delete_button):
            button.setEnabled(current is not None)
        self.back_button.setEnabled(queue.position > 0)
        if current is None:
            done = f"All {len(queue):,} nuclei are reviewed. Press N for the next ones."
            self.text.setText(done if len(queue) else "No uncertain nuclei are left.")
            return
        type_name = "deleted" if row is None else str(row["type"]).replace("_", " ")
        self.text.setText(
            f"{queue.position + 1:,} of {len(queue):,}: {type_name}, {current.reason}. "
            "Accept it, delete it, or press the number of its class."
        )
