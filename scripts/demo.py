"""Segment the sample image in napari as a user would; save the table and a screenshot."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtCore import QDeadlineTimer, QEventLoop
from qtpy.QtWidgets import QApplication, QPushButton, QWidget

FOLDER = Path("demo")
SECONDS = 300


def wait_until(condition: Callable[[], bool], seconds: int = SECONDS) -> None:
    """Process events until the condition holds; exit after `seconds`."""
    deadline = QDeadlineTimer(seconds * 1000)
    while not condition():
        if deadline.hasExpired():
            sys.exit(f"The demo timed out after {seconds} s: see napari's messages above.")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)


def button(widget: QWidget, text: str) -> QPushButton:
    """Return the button with a text."""
    return next(found for found in widget.findChildren(QPushButton) if found.text() == text)


def main() -> None:
    """Open the sample, press Segment, save the CSV and a screenshot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--close", action="store_true", help="close the window at the end")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)

    viewer = napari.Viewer(title="napari-nucleus")
    viewer.window.resize(1500, 950)
    viewer.open_sample("napari-nucleus", "tissue")
    _, widget = viewer.window.add_plugin_dock_widget("napari-nucleus", "Segment nuclei")
    segment = button(widget, "Segment")
    segment.click()
    wait_until(lambda: "classes" in viewer.layers and segment.isEnabled())
    wait_until(QDeadlineTimer(500).hasExpired)  # until the new layers are drawn

    csv = FOLDER / "nuclei.csv"
    viewer.layers["nuclei"].save(str(csv), plugin="napari-nucleus")
    screenshot = FOLDER / "screenshot.png"
    viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
    print(f"{viewer.layers['nuclei'].metadata['counts']['nuclei']} nuclei: {csv.resolve()}")
    print(f"Screenshot: {screenshot.resolve()}")
    if arguments.close:
        viewer.close()
    else:
        napari.run()


if __name__ == "__main__":
    main()
