"""Widgets open at once: torch is loaded in a thread of its own, or when it is needed."""

import subprocess
import sys

SCRIPT = """
import sys
import napari
from qtpy.QtWidgets import QApplication
from napari_nucleus.widgets.shared import device_choice

device_choice.devices = dict  # the thread that loads torch meanwhile
viewer = napari.Viewer(show=False)
opened = [
    viewer.window.add_plugin_dock_widget("napari-nucleus", name)[1]
    for name in ("Open slide", "Segment nuclei", "Correct nuclei", "Train model")
]
QApplication.processEvents()
print(*(type(widget).__name__ for widget in opened), "torch" in sys.modules)
viewer.close()
"""


def test_widgets_open_without_torch() -> None:
    """In a fresh interpreter: this one has torch."""
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    words = answer.stdout.split()
    assert words == ["OpenSlideWidget", "SegmentWidget", "CorrectWidget", "TrainWidget", "False"]
