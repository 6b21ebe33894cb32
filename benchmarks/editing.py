"""Time single corrections of a result with 100,000 nuclei, as a window makes them.

Each with its undo: journal on the disk, labels of all levels written, nuclei measured, table
changed. The image lies in memory.

    OMP_NUM_THREADS=1 python benchmarks/editing.py
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_nucleus.edits.session import EditSession
from napari_nucleus.measure import measure
from napari_nucleus.result import ResultWriter, open_result
from napari_nucleus.slides import slide_from_arrays

SIDE = 317  # nuclei in a row and in a column
PITCH = 32  # px between the centres
REPEATS = 31


def write_result(path: Path, image: np.ndarray) -> None:
    """Write nuclei of 21 px that stand in rows, band by band."""
    types = {"tumour": "#e6194b", "immune": "#3cb44b"}
    run = {
        "source": {"path": None, "sha256": ""},
        "model": {"name": "none", "sha256": "", "mpp": 0.25, "types": list(types)},
        "options": {},
        "device": "cpu",
    }
    y, x = np.mgrid[:PITCH, :PITCH] - PITCH // 2
    disc = x**2 + y**2 <= 10**2
    with ResultWriter(path, image.shape[:2], 0.25, types, run) as writer:
        for row in range(SIDE):
            numbers = np.arange(row * SIDE + 1, (row + 1) * SIDE + 1)
            labels = np.kron(numbers, disc)
            top = row * PITCH
            writer.write_labels(0, top, labels)
            table = measure(labels, image[top : top + PITCH], 0.25, (0, top))
            names = np.array(list(types))[table["label"] % 2]
            writer.append(table.assign(type=names, type_prob=0.9))
        writer.finish(seconds={})


def timed(call: Callable[[], object]) -> float:
    """Return how long a call takes, in milliseconds."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def corrections(session: EditSession) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield corrections of nuclei drawn at random."""
    rng = np.random.default_rng(0)
    for _ in range(REPEATS):
        column, row = rng.integers(1, SIDE - 1, 2).tolist()
        x, y = column * PITCH + PITCH // 2, row * PITCH + PITCH // 2
        label = row * SIDE + column + 1
        other = "immune" if session.rows([label])["type"].item() == "tumour" else "tumour"
        yield "class change", partial(session.reclassify, [label], other)
        yield "split", partial(session.split, [(x - 2, y - 14), (x + 1, y + 14)])
        yield "merge", partial(session.merge, [label, session.next_label - 1])
        yield "delete", partial(session.delete, [label])
        yield "add", partial(session.add, np.ones((12, 12), bool), x - 6, y - 6, "tumour")
        yield "paint", partial(session.paint, x - 4, y - 4, np.full((12, 4), label), "tumour")


def main() -> None:
    """Print median and slowest time of every correction and of its undo."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIDE * PITCH, SIDE * PITCH, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.nucleus"
        write_result(path, image)
        session = EditSession(path, slide_from_arrays([image], 0.25))
        print(f"{session.counts()['nuclei']:,} nuclei in {SIDE * PITCH} x {SIDE * PITCH} px")
        times: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for name, correct in corrections(session):
            once = timed(correct)
            times[name].append((once, timed(session.undo)))
            session.redo()
        print(f"{'ms: median (slowest)':<24}{'correction':>18}{'undo':>18}")
        for name, pairs in times.items():
            cells = [
                f"{np.median(each):.0f} ({max(each):.0f})" for each in zip(*pairs, strict=True)
            ]
            print(f"{name:<24}" + "".join(f"{cell:>18}" for cell in cells))
        lines = len((path / "edits.jsonl").read_bytes().splitlines())
        size = (path / "edits.jsonl").stat().st_size
        print(f"journal: {lines} lines, {size / lines:.0f} bytes each")
        for name, call in {
            "all nuclei to one class": lambda: session.reclassify(
                session.table()["label"], "tumour"
            ),
            "undo of that": session.undo,
            "counts": session.counts,
            "table": session.table,
            "next to check": session.next_to_check,
            "save": session.save,
            "open after save": lambda: open_result(path),
        }.items():
            print(f"{name:<24}{timed(call):>15.0f} ms")
        session.close()


if __name__ == "__main__":
    main()
