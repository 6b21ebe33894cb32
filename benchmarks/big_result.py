"""Time what a user waits for in a result with a million nuclei, from opening to retraining.

    OMP_NUM_THREADS=1 xvfb-run -a -s "-screen 0 1280x720x24" python benchmarks/big_result.py FOLDER

The slide, 40,960 x 40,960 px, and its result are made in FOLDER, where they are not yet;
corrections go into a copy. ``--pictures FOLDER`` saves what the window shows. "busy" is the longest
that the window did not answer; memory is that of the process, at the end of a step and at its
highest (Linux).
"""

import argparse
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
import tifffile
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_nucleus.edits import annotations, operations
from napari_nucleus.measure import measure, measurement_columns
from napari_nucleus.nucleus_types import type_colors
from napari_nucleus.results import ResultWriter, open_result
from napari_nucleus.results.export import write_csv
from napari_nucleus.retraining.data import read_training_data
from napari_nucleus.slides import open_slide
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.correct.tools import Tool
from napari_nucleus.widgets.shared.layers import hide_types, nuclei_layers, placement
from napari_nucleus.widgets.shared.nuclei_table import open_table
from napari_nucleus.widgets.shared.open_session import open_session

MPP = 0.25
PITCH = 40  # px between the centres of nuclei
ROW = 64  # nuclei in a row of a block
BLOCK = ROW * PITCH  # px; the pixels of the slide repeat after as many
BLOCKS = 16  # in a row of the slide
LEVELS = 5  # of the slide's pyramid
TYPES = type_colors(
    ["malignant_epithelial", "normal_epithelial", "inflammatory", "spindle", "miscellaneous"]
)


def draw_block() -> tuple[np.ndarray, np.ndarray]:
    """Return labels (BLOCK, BLOCK) of ellipses that stand about a grid, and their tissue, RGB."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:PITCH, :PITCH] - PITCH / 2 + 0.5
    labels = np.zeros((BLOCK, BLOCK), np.int32)
    for place in range(ROW**2):
        row, column = divmod(place, ROW)
        angle = rng.uniform(0, np.pi)
        long, short = rng.uniform(9, 16), rng.uniform(6, 9)
        right, down = rng.uniform(-3, 3, 2)
        along = (x - right) * np.cos(angle) + (y - down) * np.sin(angle)
        across = (y - down) * np.cos(angle) - (x - right) * np.sin(angle)
        inside = (along / long) ** 2 + (across / short) ** 2 <= 1
        cell = np.s_[row * PITCH : (row + 1) * PITCH, column * PITCH : (column + 1) * PITCH]
        labels[cell][inside] = place + 1
    shade = rng.uniform(0.7, 1.15, ROW**2 + 1)[labels, None]
    tissue = np.where(labels[..., None] > 0, np.array([110, 80, 150]) * shade, [230, 185, 215])
    noise = rng.normal(0, 8, (BLOCK, BLOCK, 1))
    return labels, np.clip(tissue + noise, 0, 255).astype(np.uint8)


def write_slide(file: Path, tissue: np.ndarray) -> None:
    """Write the slide as a pyramidal TIFF, tile by tile."""
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        for level in range(LEVELS):
            block = tissue[:: 2**level, :: 2**level]
            side = min(len(block), 320)

            def tiles(block: np.ndarray = block, side: int = side) -> Iterator[np.ndarray]:
                corners = range(0, len(block), side)
                band = [[block[y : y + side, x : x + side] for x in corners] for y in corners]
                for row in band * BLOCKS:
                    yield from row * BLOCKS

            writer.write(
                tiles(),
                shape=(BLOCKS * len(block), BLOCKS * len(block), 3),
                dtype=np.uint8,
                tile=(side, side),
                photometric="rgb",
                compression="jpeg",
                subfiletype=int(level > 0),
                subifds=None if level else LEVELS - 1,
                resolution=(1e4 / MPP / 2**level,) * 2,
                resolutionunit="CENTIMETER",
            )


def write_result(folder: Path, slide: Path, labels: np.ndarray, tissue: np.ndarray) -> None:
    """Write the nuclei block by block, in islands of their types."""
    rng = np.random.default_rng(1)
    measured = measure(labels, tissue, MPP)
    columns = list(measurement_columns(MPP))
    names = np.array(list(TYPES))
    run = {
        "source": {"path": str(slide), "sha256": open_slide(slide).digest()},
        "model": {"name": "none", "sha256": "", "mpp": MPP, "types": list(TYPES)},
        "options": {},
        "device": "cpu",
    }
    shape = (BLOCKS * BLOCK, BLOCKS * BLOCK)
    with ResultWriter(folder, shape, MPP, TYPES, run) as writer:
        for place in range(BLOCKS**2):
            row, column = divmod(place, BLOCKS)
            x, y, first = column * BLOCK, row * BLOCK, place * ROW**2
            writer.write_labels(x, y, np.where(labels > 0, labels + first, 0))
            spread = rng.normal(1, 0.05, (len(measured), len(columns))).astype(np.float32)
            table = measured.assign(label=measured["label"] + first)
            table[columns] *= spread
            table[["centroid_x", "x0", "x1"]] += x
            table[["centroid_y", "y0", "y1"]] += y
            island = np.sin(table["centroid_x"] / 3000) + np.cos(table["centroid_y"] / 2200)
            types = (2 + island + rng.normal(0, 0.8, len(table))).clip(0, len(names) - 1)
            writer.append(
                table.assign(
                    type=names[types.to_numpy().astype(int)],
                    type_prob=rng.uniform(0.4, 1, len(table)),
                )
            )
        writer.finish(seconds={})


def make(folder: Path) -> Path:
    """Return the result in a folder, made with its slide where it is not there yet."""
    slide, result = folder / "big.tif", folder / "big.nucleus"
    if not result.exists():
        labels, tissue = draw_block()
        if not slide.exists():
            write_slide(slide, tissue)
        write_result(result, slide, labels, tissue)
    return result


class Clock:
    """Times steps, and prints a row for each."""

    def __init__(self) -> None:
        print(f"{'':<34}{'s':>8}{'processor':>11}{'busy':>8}{'MB':>8}{'highest':>9}", flush=True)
        self._turns: list[float] = []

    def turn(self) -> None:
        """Let the window work once."""
        QApplication.processEvents()
        self._turns.append(time.perf_counter())

    def until(self, condition: Callable[[], object]) -> None:
        """Let the window work until something is so."""
        while not condition():
            self.turn()
            time.sleep(0.002)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time a step."""
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory from now on
        begun, worked = time.perf_counter(), time.process_time()
        self._turns = [begun]
        yield
        ended, worked = time.perf_counter(), time.process_time() - worked
        busy = max(late - early for early, late in pairwise([*self._turns, ended]))
        now, highest = memory("VmRSS"), memory("VmHWM")
        print(
            f"{step:<34}{ended - begun:>8.2f}{worked:>11.2f}{busy:>8.2f}{now:>8}{highest:>9}",
            flush=True,
        )


def memory(entry: str) -> int:
    """Return an entry of the process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (one for one in lines if one.startswith(entry))
    return int(line.split()[1]) // 1024


class Window:
    """napari with the result, used as a person does."""

    def __init__(self, clock: Clock, pictures: Path | None) -> None:
        self.clock = clock
        self.viewer: Any = napari.Viewer()
        self.viewer.window.resize(1280, 720)
        self._pictures = pictures
        self._drawn: list[object] = []
        canvas = self.viewer.window._qt_viewer.canvas._scene_canvas
        canvas.events.draw.connect(self._drawn.append, position="last")
        self._canvas = canvas

    def draw(self) -> None:
        """Wait until the canvas is drawn."""
        self._drawn.clear()
        self._canvas.update()
        self.clock.until(lambda: self._drawn)

    def picture(self, name: str) -> None:
        """Save the window."""
        if self._pictures is not None:
            self._pictures.mkdir(exist_ok=True, parents=True)
            self.draw()
            self.viewer.screenshot(
                str(self._pictures / f"{name}.png"), canvas_only=False, flash=False
            )

    def look(self, x: float, y: float, zoom: float) -> None:
        """Look at a point, in level-0 pixels, with so many pixels of the screen for each."""
        camera = self.viewer.scene.camera
        camera.center = self.viewer.layers["nuclei"].data_to_world((y, x))
        camera.zoom = zoom / MPP
        self.draw()

    def drag(self, target: Any, points: list[tuple[float, float]]) -> None:
        """Press the mouse on a layer or the viewer, draw through points, and let go."""
        whole = self.viewer.layers["nuclei"]

        def event(name: str, point: tuple[float, float]) -> Any:
            return read_only_mouse_event(
                name,
                is_dragging=name == "mouse_move",
                button=1,
                position=whole.data_to_world(point[::-1]),
                pos=np.array(point) * 5,
                view_direction=None,
                dims_displayed=[0, 1],
                modifiers=[],
            )

        mouse_press_callbacks(target, event("mouse_press", points[0]))
        for point in points[1:]:
            mouse_move_callbacks(target, event("mouse_move", point))
        mouse_release_callbacks(target, event("mouse_release", points[-1]))


def centre(place: int) -> tuple[float, float]:
    """Return about where the nucleus stands that is so far along the diagonal of the slide."""
    return place * PITCH + PITCH / 2, place * PITCH + PITCH / 2


def look_around(window: Window, folder: Path) -> None:
    """Open a result, move about, and use legend and table."""
    clock, viewer = window.clock, window.viewer
    with clock("open the result, until it is drawn"):
        viewer.open(folder, plugin="napari-nucleus")
        window.draw()
    window.picture("overview")
    nuclei = viewer.layers["nuclei"]
    middle = BLOCKS * BLOCK / 2
    for zoom in (0.1, 0.5, 1, 3):
        with clock(f"zoom in to {zoom:g}"):
            window.look(middle, middle, zoom)
    window.picture("zoomed in")
    for distance in (200, 2000):
        with clock(f"pan by {distance} px"):
            window.look(middle + distance, middle, 1)
    window.look(middle, middle, 1)
    viewer.layers.selection.active = nuclei
    for step in ("first nucleus under the mouse", "another"):
        with clock(step):
            status = nuclei.get_status(nuclei.data_to_world(centre(512)[::-1]), world=True)
    print("   ", status["value"][:100])
    with clock("zoom out"):
        window.look(middle, middle, 0.015)
    for hidden in (["spindle"], []):
        with clock("hide a class" if hidden else "show it again"):
            hide_types(folder, hidden, viewer.layers)
            window.draw()
        if hidden:
            window.picture("without a class")
    with clock("open the table"):
        table = open_table(viewer, nuclei)
        clock.until(lambda: table.model.rowCount())
        window.draw()
    with clock("select a row"):
        table.view.selectRow(table.model.rowCount() // 2)
        window.draw()
    window.picture("table")
    column = [table.model.headerData(i, Qt.Orientation.Horizontal) for i in range(12)]
    for name in ("area_um2", "type"):
        with clock(f"sort by {name}"):
            table.view.sortByColumn(column.index(name), Qt.SortOrder.DescendingOrder)
            window.draw()
    with clock("filter"):
        table.condition.setText("area_um2 > 20 and solidity < 0.95")
        table.condition.returnPressed.emit()
        window.draw()
    table.condition.clear()
    window.look(*centre(500), 2)
    with clock("click a nucleus"):
        window.drag(viewer, [centre(500)])
        window.draw()
    assert len(table.selected) == 1
    with clock("select all rows"):
        table.view.selectAll()
        window.draw()
    table.select(table.selected[:0])
    with clock("set the class of a row"):
        table.select(table.model.labels[:1])
        table.set_class.setCurrentIndex(1)
        table.set_class.activated.emit(1)
        clock.until(table.set_class.isEnabled)
        window.draw()


def correct(window: Window) -> None:
    """Correct nuclei, with the table open."""
    clock, viewer = window.clock, window.viewer
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    window.look(*centre(502), 1)
    with clock("start correcting"):
        widget.start_button.click()
        clock.until(lambda: widget.workspace)
        window.draw()
    assert widget.workspace is not None
    controller, layer = widget.workspace.controller, widget.workspace.controller.layers.nuclei
    window.picture("correcting")
    window.drag(layer, [centre(499)])
    lasso = [centre(502), (centre(508)[0], centre(502)[1]), centre(508), centre(502)]
    free = centre(506)[0] + PITCH / 2, centre(506)[1] + PITCH / 2
    for step, tool, points in (
        ("delete a nucleus", Tool.DELETE, [centre(501)]),
        ("set a class", Tool.CLASSIFY, [centre(502)]),
        ("paint", Tool.PAINT, [free, (free[0] + 3, free[1])]),
        ("set a class by lasso", Tool.CLASSIFY, lasso),
        ("delete by lasso", Tool.DELETE, lasso),
        ("mark as reviewed", Tool.REVIEW, [centre(495), centre(510)]),
    ):
        controller.take(tool)
        window.draw()
        before = len(controller.session.done)
        with clock(step):
            window.drag(layer, points)
            window.draw()
        assert len(controller.session.done) > before
        assert not widget.status.text(), widget.status.text()
    for step, action in (("undo", controller.undo), ("redo", controller.redo)):
        with clock(step):
            action()
            window.draw()
    controller.take(Tool.MOVE)
    window.picture("corrected")
    with clock("rename a class"):
        controller.apply(annotations.rename_type, "spindle", "fibroblast")
        window.draw()
    with clock("review uncertain nuclei"):
        controller.review(True)
        window.draw()
    with clock("go on"):
        controller.go_on()
        window.draw()
    controller.review(False)
    with clock("finish"):
        widget.finish()
        clock.until(lambda: widget.status.text())
        window.draw()


def core(clock: Clock, folder: Path) -> None:
    """Time what needs no window."""
    for step, call in {
        "open_result": lambda: open_result(folder),
        "table": lambda: open_result(folder).table(),
        "nuclei_layers": lambda: nuclei_layers(open_result(folder), placement(MPP)),
        "save CSV": lambda: write_csv(open_result(folder), folder.parent / "nuclei.csv"),
    }.items():
        with clock(step):
            call()


def retrain(clock: Clock, folder: Path) -> None:
    """Read a result with a handful of reviewed regions."""
    session = open_session(folder, None)
    for place in range(100, 600, 100):
        x, y = map(int, centre(place))
        session.apply(annotations.mark_reviewed, (x, y, x + 1000, y + 1000))
    with clock("one class for all nuclei"):
        session.apply(operations.reclassify, session.canvas.table.labels.tolist(), "inflammatory")
    with clock("undo"):
        session.undo()
    for label in range(17, 117):
        session.apply(operations.delete, [label])
    with clock("table, 100 edits after it was saved"):
        open_result(folder).nuclei()
    with clock("save the table"):
        session.close()
    with clock("read data for retraining"):
        data = read_training_data([folder], list(TYPES), MPP)
    print("   ", len(data.training), "+", len(data.validation), "regions")


def main() -> None:
    """Read the command line, and time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    made = make(arguments.folder)
    clock = Clock()
    with TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary) / made.name
        shutil.copytree(made, folder)
        with clock("napari alone"):
            window = Window(clock, arguments.pictures)
            window.draw()
        look_around(window, folder)
        correct(window)
        window.viewer.close()
        retrain(clock, folder)
        core(clock, folder)


if __name__ == "__main__":
    main()
