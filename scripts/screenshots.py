"""Make the screenshots of the documentation: the widgets at work on real tissue.

    xvfb-run -a -s "-screen 0 1600x1000x24" python -m scripts.screenshots docs

They show the sample image, or another one with `--image` and `--mpp`.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import platformdirs
from napari.viewer import Viewer
from qtpy.QtCore import QDeadlineTimer
from qtpy.QtWidgets import QWidget

from napari_nucleus.edits import annotations
from napari_nucleus.inference import segment
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.prompts.propose import Outline
from napari_nucleus.slides import open_slide
from napari_nucleus.slides.tiles import Box
from napari_nucleus.weights.store import DEFAULT_MODEL
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.controller import Controller
from napari_nucleus.widgets.correct.tools import Tool
from napari_nucleus.widgets.shared.layers import image_layer
from napari_nucleus.widgets.train import TrainWidget
from scripts.demo import button, wait_until

_REVIEWED = 45
"""Margin in pixels of the region around the current nucleus that is marked as reviewed."""

_VIEW = 5 * _REVIEWED
"""Height of the view in pixels."""

_EPOCHS = 4
_TIMEOUT = 1800
"""Seconds for a training."""


def wait(milliseconds: int) -> None:
    """Let the window draw."""
    wait_until(QDeadlineTimer(milliseconds).hasExpired)


def open_widget(viewer: Viewer, name: str) -> QWidget:
    """Open a widget of the plugin in place of the previous one."""
    for dock in list(viewer.window.dock_widgets.values()):
        viewer.window.remove_dock_widget(dock)
    _, widget = viewer.window.add_plugin_dock_widget("napari-nucleus", name)
    return widget


def shoot(viewer: Viewer, file: Path) -> None:
    """Save a screenshot of the window."""
    wait(700)
    viewer.screenshot(str(file), canvas_only=False, flash=False)


def show_segment(viewer: Viewer, folder: Path) -> None:
    """Segment the image."""
    widget = open_widget(viewer, "Segment nuclei")
    start = button(widget, "Segment")
    start.click()
    wait_until(lambda: "classes" in viewer.layers and start.isEnabled())
    shoot(viewer, folder / "window.png")


def surroundings(controller: Controller) -> Box | None:
    """Return a box around the current nucleus; None if the view would leave the image."""
    row = controller.current_row
    assert row is not None
    box = Box(*(int(row[edge]) for edge in ("x0", "y0", "x1", "y1")))
    height, width = controller.session.shape
    margin = _VIEW // 2
    x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
    inside = margin < x < width - margin and margin < y < height - margin
    return box.grown(_REVIEWED, within=Box(0, 0, width, height)) if inside else None


def show_correct(viewer: Viewer, folder: Path, results: Path) -> None:
    """Show the review of a nucleus and the tool that adds nuclei; correct and review everything."""
    widget = open_widget(viewer, "Correct nuclei")
    assert isinstance(widget, CorrectWidget)
    button(widget, "Start correcting").click()
    wait_until(lambda: widget.workspace is not None)
    assert widget.workspace is not None
    controller = widget.workspace.controller
    widget.panel.review.toggle_button.click()
    while (near := surroundings(controller)) is None:
        widget.panel.review.next_button.click()
    controller.apply(annotations.mark_reviewed, (near.x0, near.y0, near.x1, near.y1))
    viewer.scene.camera.zoom = min(viewer.canvas.size) / (_VIEW * viewer.layers[0].scale[0])
    shoot(viewer, folder / "correct.png")
    widget.panel.review.toggle_button.click()
    widget.panel.tools.buttons[Tool.ADD].click()
    shoot(viewer, folder / "correct-add.png")
    for outline, name in rejected(controller, results):
        controller.add(outline, name)
    height, width = controller.session.shape
    for y in (0, height // 2):
        for x in (0, width // 2):
            region = (x, y, x + width // 2, y + height // 2)
            controller.apply(annotations.mark_reviewed, region)
    widget.finish()
    wait_until(lambda: bool(widget.status.text()))


def rejected(controller: Controller, results: Path) -> Iterator[tuple[Outline, str]]:
    """Yield nuclei, with their classes, that the model rejects because their probability is low.

    A person would add most of them.
    """
    model = load_checkpoint(DEFAULT_MODEL)
    model.instances = {**model.instances, "min_probability": 0.0}
    found = segment(controller.session.slide, results / "rejected.nucleus", model)
    height, width = found.shape
    labels = found.read_labels(0, 0, width, height)
    known = controller.session.read_labels(0, 0, width, height)
    columns = found.table()[["label", "x0", "y0", "x1", "y1", "type"]]
    for label, x0, y0, x1, y1, name in columns.itertuples(index=False, name=None):
        part = slice(y0, y1), slice(x0, x1)
        mask = labels[part] == label
        if not known[part][mask].any():
            yield Outline(mask, x0, y0), name


def show_train(viewer: Viewer, folder: Path) -> None:
    """Train on the corrections."""
    widget = open_widget(viewer, "Train model")
    assert isinstance(widget, TrainWidget)
    widget.form.epochs.setValue(_EPOCHS)
    widget.train_button.click()
    wait_until(lambda: widget.progress.value() > widget.progress.maximum() // 2 > 0, _TIMEOUT)
    shoot(viewer, folder / "train.png")
    wait_until(lambda: widget.train_button.isEnabled(), _TIMEOUT)
    shoot(viewer, folder / "trained.png")


def main() -> None:
    """Make all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for the screenshots")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--mpp", type=float, default=0.25)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    with TemporaryDirectory() as home:
        # Keeps results and models out of the user's folders.
        for folder in ("documents", "data"):
            setattr(platformdirs, f"user_{folder}_path", partial(Path, home))
        viewer = napari.Viewer(title="napari-nucleus")
        viewer.window.resize(1500, 950)
        if arguments.image is None:
            viewer.open_sample("napari-nucleus", "tissue")
        else:
            slide = open_slide(arguments.image, mpp=arguments.mpp)
            layer = image_layer(slide)
            layer.metadata["path"] = None  # else its result would be saved beside it
            viewer.add_layer(layer)
        show_segment(viewer, arguments.folder)
        show_correct(viewer, arguments.folder, Path(home))
        show_train(viewer, arguments.folder)
        viewer.close()


if __name__ == "__main__":
    main()
