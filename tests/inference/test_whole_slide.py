"""A whole slide: in little memory, killed at any moment, on a cluster, in any order, the same."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_nucleus.inference import segment, segment_steps
from napari_nucleus.inference.tile_queue import TileQueue
from napari_nucleus.results import Result, open_result
from napari_nucleus.slides.tiles import Tile
from tests.inference.whole_slide import SIDE, network, write_slide

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("slide") / "slide.ome.tif"
    write_slide(file)
    return file


@pytest.fixture(scope="module")
def undisturbed(image: Path) -> Result:
    result = segment(image, image.with_name("undisturbed.nucleus"), network(), device="cpu")
    assert result.shape == (SIDE, SIDE)
    assert result.run["counts"]["nuclei"] > 500
    assert result.run["tissue"] < 0.05
    return result


def stored(result: Result) -> dict[str, bytes]:
    """All levels of the labels: chunks of nothing but background are not stored."""
    folder = result.path / "labels.zarr"
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "zarr.json")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def assert_same(one: Result, other: Result) -> None:
    assert [level.shape for level in one.levels] == [level.shape for level in other.levels]
    assert stored(one) == stored(other)
    assert one.table().equals(other.table())


def run_until(image: Path, out: Path, tiles: int | None) -> tuple[int, list[list[float]]]:
    """Segment in a process of little memory, which is killed at random after so many tiles.

    None waits for the last pass. Returns its exit status and its progress.
    """
    command = [sys.executable, "-m", "tests.inference.whole_slide", str(image), str(out)]
    seen = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            done, total, kept, joined = map(float, line.split())
            seen.append([done, total, kept, joined])
            if joined if tiles is None else done - kept >= tiles:
                time.sleep(random.uniform(0, 0.2))
                process.kill()
                tiles = SIDE**2
    return process.returncode, seen


@pytest.mark.skipif(sys.platform != "linux", reason="limits what a process takes by RLIMIT_DATA")
def test_killed_twice_in_little_memory(image: Path, undisturbed: Result, tmp_path: Path) -> None:
    out = tmp_path / "slide.nucleus"
    folder = tmp_path / "slide.nucleus.unfinished"
    status, seen = run_until(image, out, random.randrange(5, 30))
    assert status == -signal.SIGKILL
    kept = len(list(folder.glob("*.npz")))
    assert 5 <= kept < seen[-1][1]
    assert not out.exists()

    status, seen = run_until(image, out, None)
    assert status == -signal.SIGKILL
    assert seen[-1][2] == kept  # no tile was done twice
    assert seen[-1][3] > 0
    assert not out.exists()

    status, seen = run_until(image, out, SIDE**2)
    assert status == 0
    assert seen[-1][1] == seen[-1][2]  # all tiles were there
    assert_same(undisturbed, open_result(out))
    assert [path.name for path in tmp_path.iterdir()] == ["slide.nucleus"]


def test_worker_that_dies_costs_its_tiles_only(
    image: Path, undisturbed: Result, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = segment_steps(image, tmp_path / "slide.nucleus", network(), scheduler="local:2")
    killed = 0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result = end.value
            break
        if step.done == 10 and not killed:
            worker = next(workers())
            worker.kill()
            killed = worker.pid
    assert killed
    assert_same(undisturbed, result)
    assert result.run["device"] == "cpu"
    assert all(seconds > 0 for seconds in result.run["seconds"].values())
    assert capfd.readouterr().err == ""
    assert not list(workers())


def workers() -> Iterator[psutil.Process]:
    """Yield the processes of workers on this machine."""
    for process in psutil.Process().children(recursive=True):
        if "spawn_main" in " ".join(process.cmdline()):
            yield process


def test_tiles_in_reverse(
    image: Path, undisturbed: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take(self: TileQueue) -> Tile:
        taken.append(self._tiles.pop())
        return taken[-1]

    monkeypatch.setattr(TileQueue, "take", take)
    assert_same(undisturbed, segment(image, tmp_path / "slide.nucleus", network(), device="cpu"))
    places = [(tile.row, tile.column) for tile in taken]
    assert places == sorted(places, reverse=True)


def test_region_is_the_same_crop(image: Path, undisturbed: Result, tmp_path: Path) -> None:
    """Through tissue and glass, across tiles."""
    x, y, width, height = box = (1300, 1450, 600, 450)
    part = segment(image, tmp_path / "part.nucleus", network(), region=box, device="cpu")
    table = undisturbed.table()
    inside = table["centroid_x"].between(x - 0.5, x + width - 0.5, inclusive="left")
    inside &= table["centroid_y"].between(y - 0.5, y + height - 0.5, inclusive="left")
    expected = table[inside].reset_index(drop=True)
    assert 50 < len(expected) < len(table)
    assert part.table().drop(columns="label").equals(expected.drop(columns="label"))
    numbers = np.zeros(len(table) + 1, np.int32)
    numbers[expected["label"]] = np.arange(1, len(expected) + 1)
    # nuclei that are centred in the region reach beyond it
    crop = x - 100, y - 100, width + 200, height + 200
    assert np.array_equal(part.read_labels(*crop), numbers[undisturbed.read_labels(*crop)])
