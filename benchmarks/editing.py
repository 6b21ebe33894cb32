"""Time single corrections of a result with 100,000 nuclei, each with its undo.

    OMP_NUM_THREADS=1 python benchmarks/editing.py
    OMP_NUM_THREADS=1 xvfb-run -a python benchmarks/editing.py --window region
    OMP_NUM_THREADS=1 xvfb-run -a python benchmarks/editing.py --window layer

Without a window: journal on the disk, labels of all levels written, nuclei measured, table changed.
With one, the layers follow, and the time until the canvas is drawn is told, too: ``region`` opens a
part of a slide of 103 megapixels, ``layer`` has all nuclei, small as they are then, in one layer.
The image lies in memory.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_nucleus.edits import operations
from napari_nucleus.edits.review_queue import uncertain_nuclei
from napari_nucleus.edits.session import EditSession
from napari_nucleus.measure import measure
from napari_nucleus.results import ResultWriter, open_result
from napari_nucleus.slides import slide_from_arrays

SIDE = 317  # nuclei in a row and in a column
PITCH = 32  # px between the centres
CLOSE = 9  # as many as a layer holds that can be painted in
REPEATS = 21


def write_result(path: Path, image: np.ndarray, pitch: int) -> None:
    """Write nuclei, 25 px wide where they are 32 apart, that stand in rows, band by band."""
    types = {"tumour": "#e6194b", "immune": "#3cb44b"}
    run = {
        "source": {"path": None, "sha256": ""},
        "model": {"name": "none", "sha256": "", "mpp": 0.25, "types": list(types)},
        "options": {},
        "device": "cpu",
    }
    y, x = np.mgrid[:pitch, :pitch] - pitch // 2
    disc = x**2 + y**2 <= (0.4 * pitch) ** 2
    with ResultWriter(path, image.shape[:2], 0.25, types, run) as writer:
        for row in range(SIDE):
            numbers = np.arange(row * SIDE + 1, (row + 1) * SIDE + 1)
            labels = np.kron(numbers, disc)
            top = row * pitch
            writer.write_labels(0, top, labels)
            table = measure(labels, image[top : top + pitch], 0.25, (0, top))
            names = np.array(list(types))[table["label"] % 2]
            writer.append(table.assign(type=names, type_prob=0.9))
        writer.finish(seconds={})


def timed(*calls: Callable[[], object]) -> np.ndarray:
    """Return how long calls take from the first on, in milliseconds: by the clock, processor."""
    start = np.array([time.perf_counter(), time.process_time()])
    ends = []
    for call in calls:
        call()
        ends.append([time.perf_counter(), time.process_time()])
    return 1000 * (np.array(ends) - start).ravel()


def corrections(
    session: EditSession, pitch: int, within: range
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield operations, with their arguments, on nuclei drawn at random from rows and columns."""
    rng = np.random.default_rng(0)
    unit = pitch / 32
    for _ in range(REPEATS):
        column, row = rng.choice(within, 2).tolist()
        x, y = column * pitch + pitch // 2, row * pitch + pitch // 2
        label = row * SIDE + column + 1
        other = "immune" if session.rows([label])["type"].item() == "tumour" else "tumour"
        line = [(x - 2 * unit, y - 14 * unit), (x + unit, y + 14 * unit)]
        square = np.ones((round(12 * unit),) * 2, bool)
        corner = x - len(square) // 2, y - len(square) // 2
        stroke = np.full((len(square), max(len(square) // 3, 1)), label)
        yield "class change", (operations.reclassify, [label], other)
        yield "split", (operations.split, line)
        yield "merge", (operations.merge, [label, session.next_label - 1])
        yield "delete", (operations.delete, [label])
        yield "add", (operations.add, square, *corner, "tumour")
        yield "paint", (operations.paint, *corner, stroke, "tumour")


def report(times: dict[str, list[np.ndarray]], parts: tuple[str, ...]) -> None:
    """Print median and slowest time of every correction and of its undo."""
    print(f"{'ms: median (slowest)':<24}" + "".join(f"{part:>16}" for part in parts))
    for name, rows in times.items():
        middle, slowest = np.median(rows, axis=0), np.max(rows, axis=0)
        cells = (f"{one:.0f} ({other:.0f})" for one, other in zip(middle, slowest, strict=True))
        print(f"{name:<24}" + "".join(f"{cell:>16}" for cell in cells))


def without_window(path: Path, image: np.ndarray) -> None:
    """Time the core alone."""
    session = EditSession(path, slide_from_arrays([image], 0.25))
    times: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, correction in corrections(session, PITCH, range(1, SIDE - 1)):
        times[name].append(timed(partial(session.apply, *correction)))
        times[f"undo {name}"].append(timed(session.undo))
        session.redo()
    report(times, ("done", "processor"))
    lines = len((path / "edits.jsonl").read_bytes().splitlines())
    size = (path / "edits.jsonl").stat().st_size
    print(f"journal: {lines} lines, {size / lines:.0f} bytes each")
    for name, call in {
        "all nuclei to one class": lambda: session.apply(
            operations.reclassify, session.table()["label"], "tumour"
        ),
        "undo of that": session.undo,
        "counts": session.counts,
        "table": session.table,
        "uncertain nuclei": lambda: uncertain_nuclei(session.table(), session.checked),
        "save": session.save,
        "open after save": lambda: open_result(path),
    }.items():
        print(f"{name:<24}{timed(call)[0]:>15.0f} ms")
    session.close()


def in_window(path: Path, image: np.ndarray, pitch: int) -> None:
    """Time what a person sees."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_nucleus.widgets.correct import CorrectWidget
    from napari_nucleus.widgets.shared.layers import image_layer, nuclei_layers, placement_of

    def until(condition: Callable[[], object]) -> None:
        while not condition():
            QApplication.processEvents()

    viewer: Any = napari.Viewer()
    shown = image_layer(slide_from_arrays([image], 0.25))
    shown.metadata["result"] = str(path)
    viewer.add_layer(shown)
    for layer in nuclei_layers(open_result(path), placement_of(shown)):
        viewer.add_layer(layer)
    within = range(SIDE // 2 - 25, SIDE // 2 + 25)
    middle = SIDE * pitch / 2
    viewer.scene.camera.center = viewer.layers["nuclei"].data_to_world((middle, middle))
    viewer.scene.camera.zoom = min(viewer.canvas.size) / (60 * pitch * 0.25)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.start_button.click()
    until(lambda: widget.workspace)
    assert widget.workspace is not None
    controller = widget.workspace.controller
    box = controller.layers.box
    print(f"{box.width} x {box.height} px are open")
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    drawings: list[object] = []
    canvas.events.draw.connect(drawings.append, position="last")

    def draw() -> None:
        drawings.clear()
        canvas.update()
        until(lambda: drawings)

    times: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, correction in corrections(controller.session, pitch, within):
        times[name].append(timed(partial(controller.apply, *correction), draw))
        assert not widget.status.text(), widget.status.text()
        times[f"undo {name}"].append(timed(controller.undo, draw))
        controller.redo()
        draw()
    report(times, ("done", "processor", "drawn", "processor"))
    widget.finish()
    until(lambda: widget.status.text())
    viewer.close()


def main() -> None:
    """Read the command line, and time corrections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", choices=["region", "layer"])
    where = parser.parse_args().window
    pitch = CLOSE if where == "layer" else PITCH
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIDE * pitch, SIDE * pitch, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.nucleus"
        write_result(path, image, pitch)
        print(f"{SIDE**2:,} nuclei in {SIDE * pitch} x {SIDE * pitch} px")
        if where is None:
            without_window(path, image)
        else:
            in_window(path, image, pitch)


if __name__ == "__main__":
    main()
