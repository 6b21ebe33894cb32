import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from ome_zarr_models.v05 import ImageLabel
from ome_zarr_models.v05.coordinate_transformations import VectorScale

from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.results import Result, ResultWriter, open_result

TYPES = {"inflammatory": "#3cb44b", "other": "#ff0000"}
RUN = {
    "source": {"path": "slide.svs", "sha256": "ab"},
    "model": {"name": "tiny", "sha256": "cd", "mpp": 0.5, "types": list(TYPES)},
    "options": {"tile": 1024},
    "device": "cpu",
}


def grid(height: int, width: int, first: int = 1) -> np.ndarray:
    """Nuclei of 9 x 9 pixels, 16 apart."""
    rows, columns = -(-height // 16), -(-width // 16)
    labels = np.arange(first, first + rows * columns).reshape(rows, columns)
    squares = np.pad(np.ones((9, 9), int), ((3, 4), (3, 4)))
    return np.kron(labels, squares)[:height, :width].astype(np.int32)


def nuclei(labels: np.ndarray, mpp: float | None = 0.25, x: int = 0, y: int = 0) -> pd.DataFrame:
    rgb = np.full((*labels.shape, 3), 128, np.uint8)
    table = measure(labels, rgb, mpp, (x, y))
    kinds = np.where(table["label"] % 3 == 0, "other", "inflammatory")
    return table.assign(type=kinds, type_prob=0.75)


def writer(
    path: Path, shape: tuple[int, int] = (100, 120), mpp: float | None = 0.25
) -> ResultWriter:
    return ResultWriter(path, shape, mpp, TYPES, RUN)


def write(path: Path, labels: np.ndarray, mpp: float | None = 0.25) -> Result:
    with writer(path, labels.shape, mpp) as new:
        new.write_labels(0, 0, labels)
        new.append(nuclei(labels, mpp))
        return new.finish(seconds={"total": 1.5})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "slide.nucleus"


def test_tiles_of_any_alignment_make_one_result(path: Path) -> None:
    labels = grid(1300, 1111)
    with writer(path, labels.shape) as new:
        for y in range(0, 1300, 304):
            for x in range(0, 1111, 400):
                tile = labels[y : y + 304, x : x + 400]
                new.write_labels(x, y, tile)
                new.append(nuclei(tile, x=x, y=y))
        result = new.finish(seconds={"total": 2.0})

    assert [level.shape for level in result.labels] == [(1300, 1111), (650, 556), (325, 278)]
    for number, level in enumerate(result.labels):
        assert level.dtype == np.int32
        np.testing.assert_array_equal(level.compute(), labels[:: 2**number, :: 2**number])
    np.testing.assert_array_equal(
        result.read_labels(130, 70, 50, 60, 1), labels[140:260:2, 260:360:2]
    )

    expected = nuclei(labels)
    table = result.table().sort_values("label", ignore_index=True)
    assert list(table)[:3] == ["label", "type", "type_prob"]
    assert list(table)[-2:] == ["edited", "region"]
    assert not table["edited"].any()
    assert (table["region"] == "").all()
    pd.testing.assert_frame_equal(
        table[list(expected)], expected, check_dtype=False, rtol=1e-5, atol=1e-6
    )
    pieces = list(result.tables(rows=1000))
    assert len(pieces) > 1
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), result.table())


def test_nuclei_by_column(path: Path) -> None:
    """In the order of their labels, and names that thousands share are kept once."""
    labels = grid(400, 300)
    with writer(path, labels.shape) as new:
        for y, part in ((192, labels[192:]), (0, labels[:192])):
            new.write_labels(0, y, part)
            new.append(nuclei(part, y=y))
        result = new.finish(seconds={})
    table = result.table().sort_values("label", ignore_index=True)
    assert table["label"].tolist() != result.table()["label"].tolist()
    found = result.nuclei()
    for name, values in table.items():
        np.testing.assert_array_equal(found.columns[str(name)], values)
    assert len(set(map(id, found.columns["type"]))) == table["type"].nunique()
    assert list(result.nuclei(["label", "type"]).columns) == ["label", "type"]


def test_run(path: Path) -> None:
    labels = grid(100, 120)
    result = write(path, labels)
    assert (result.shape, result.mpp, result.types) == ((100, 120), 0.25, TYPES)
    run = json.loads((path / "run.json").read_text())
    assert run == result.run == open_result(path).run
    assert run["format"] == 1
    assert run["source"] == {
        "path": "slide.svs",
        "relative": Path(os.path.relpath("slide.svs", path.parent)).as_posix(),
        "sha256": "ab",
        "width": 120,
        "height": 100,
        "mpp": 0.25,
    }
    assert run["counts"] == {"nuclei": 56, "inflammatory": 38, "other": 18}
    assert run["seconds"] == {"total": 1.5}
    assert {name: run[name] for name in ["model", "options", "device"]} == {
        name: RUN[name] for name in ["model", "options", "device"]
    }
    assert pd.Timestamp(run["started"]) <= pd.Timestamp.now("UTC")
    assert sorted(entry.name for entry in path.iterdir()) == [
        "edits.jsonl",
        "labels.zarr",
        "nuclei.parquet",
        "run.json",
    ]


@pytest.mark.parametrize(("mpp", "unit"), [(0.25, "micrometer"), (None, None)])
def test_opens_as_ome_zarr(path: Path, mpp: float | None, unit: str | None) -> None:
    write(path, grid(1100, 600), mpp)
    image = ImageLabel.from_zarr(zarr.open_group(path / "labels.zarr", mode="r"))
    attributes = image.ome_attributes
    assert attributes.version == "0.5"
    assert attributes.image_label is not None
    (multiscale,) = attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("y", "space", unit),
        ("x", "space", unit),
    ]
    scales = [dataset.coordinateTransformations[0] for dataset in multiscale.datasets]
    assert scales == [VectorScale.build([(mpp or 1) * step] * 2) for step in (1, 2, 4)]


def test_no_nuclei(path: Path) -> None:
    with writer(path, mpp=None) as new:
        result = new.finish(seconds={})
    table = result.table()
    assert len(table) == 0
    assert "area_px2" in table
    pd.testing.assert_frame_equal(pd.concat(result.tables()), table)
    assert result.run["counts"] == {"nuclei": 0, "inflammatory": 0, "other": 0}
    assert not result.labels[0].any().compute()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(path: Path) -> None:
    side = 9000
    tracemalloc.start()
    try:
        with writer(path, (side, side)) as new:
            for corner in range(0, side - 500, 500):
                new.write_labels(corner, corner, grid(500, 500, 1 + 1024 * corner))
            new.finish(seconds={})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < side * side * 4 / 2


def test_earlier_result_stays_until_the_new_one_is_complete(path: Path) -> None:
    write(path, grid(100, 120))
    with writer(path) as new:
        new.write_labels(0, 0, grid(100, 120, first=1000))
        assert open_result(path).read_labels(0, 0, 120, 100).max() == 56
        new.finish(seconds={})
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 1055
    assert list(path.parent.iterdir()) == [path]


def test_a_cache_tells_a_new_result_from_the_one_it_replaced(path: Path) -> None:
    names = {write(path, grid(100, 120, first)).labels[0].name for first in (1, 1000)}
    assert len(names) == 2


def test_a_failure_leaves_the_earlier_result_alone(path: Path) -> None:
    write(path, grid(100, 120))
    table = nuclei(grid(100, 120)).assign(type="ghost")
    with pytest.raises(ValueError, match="ghost"), writer(path) as new:
        new.append(table)
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 56
    assert list(path.parent.iterdir()) == [path]


def test_closing_a_generator_aborts(path: Path) -> None:
    def steps() -> Generator[int]:
        with writer(path) as new:
            for x in range(10):
                new.write_labels(x, 0, grid(100, 100))
                yield x
            new.finish(seconds={})

    running = steps()
    assert next(running) == 0
    running.close()
    assert list(path.parent.iterdir()) == []


def test_abort_after_finish_changes_nothing(path: Path) -> None:
    with writer(path) as new:
        new.finish(seconds={})
        new.abort()
    open_result(path)


def test_the_next_run_replaces_what_a_killed_process_left(path: Path) -> None:
    code = f"""
import os, pathlib, numpy
from napari_nucleus.results import ResultWriter
writer = ResultWriter(pathlib.Path({str(path)!r}), (600, 600), None, {TYPES!r}, {RUN!r})
writer.write_labels(0, 0, numpy.ones((600, 600), int))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    left = sorted(entry.name for entry in path.parent.iterdir())
    assert re.fullmatch(r"\.slide\.nucleus\.lock slide\.nucleus\.[0-9a-f]{8}\.part", " ".join(left))
    with pytest.raises(UserError, match="not a result folder"):
        open_result(path)
    assert write(path, grid(100, 120)).read_labels(0, 0, 120, 100).max() == 56
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("by", ["opening it", "writing it again"])
def test_killed_between_moving_the_earlier_result_away_and_the_new_one_in(
    path: Path, by: str
) -> None:
    write(path, grid(100, 120))
    path.rename(path.with_name("slide.nucleus.00c0ffee.old"))
    if by == "writing it again":
        writer(path).abort()
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 56
    assert list(path.parent.iterdir()) == [path]


def test_killed_at_any_moment_of_the_end(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next finds a whole result, the earlier or the new one."""
    write(path, grid(100, 120))
    moments: list[Path] = []

    def keep() -> None:
        copy = shutil.copytree(path.parent, tmp_path / f"killed {len(moments)}")
        moments.append(copy / path.name)

    def watched(step: Callable) -> Callable:
        def taken(*arguments: Any, **options: Any) -> Any:
            keep()
            done = step(*arguments, **options)
            keep()
            return done

        return taken

    with writer(path) as new:
        new.write_labels(0, 0, grid(100, 120, first=1000))
        with monkeypatch.context() as patch:
            for module, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree")):
                patch.setattr(module, name, watched(getattr(module, name)))
            new.finish(seconds={})
    highest = []
    for moment in moments:
        highest.append(int(open_result(moment).read_labels(0, 0, 120, 100).max()))
        writer(moment).abort()
        assert int(open_result(moment).read_labels(0, 0, 120, 100).max()) == highest[-1]
        assert list(moment.parent.iterdir()) == [moment]
    assert highest == sorted(highest)
    assert set(highest) == {56, 1055}


def test_new_result_that_cannot_be_moved_in_leaves_the_earlier_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, grid(100, 120))
    rename = os.rename

    def held_open(source: Path, target: Path) -> None:
        if Path(source).suffix == ".part":
            raise PermissionError(errno.EACCES, "held open by another program")
        rename(source, target)

    with writer(path) as new:
        new.write_labels(0, 0, grid(100, 120, first=1000))
        monkeypatch.setattr(os, "rename", held_open)
        with pytest.raises(UserError, match=r"Permission denied.*unchanged"):
            new.finish(seconds={})
    assert list(path.parent.iterdir()) == [path]
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 56


def test_corrections_by_hand_are_never_replaced(path: Path) -> None:
    write(path, grid(100, 120))
    with writer(path) as new:
        (path / "edits.jsonl").write_text('{"n": 1, "edit": "mark"}\n')  # while the new one is made
        with pytest.raises(UserError, match="manual corrections"):
            new.finish(seconds={})
    with pytest.raises(UserError, match="manual corrections"):
        writer(path)
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 56
    assert list(path.parent.iterdir()) == [path]


def test_other_peoples_files_are_never_replaced(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "thesis.docx").touch()
    with pytest.raises(UserError, match="choose another folder"):
        writer(path)
    assert (path / "thesis.docx").exists()
    (path / "thesis.docx").unlink()
    for name in (".DS_Store", "._nuclei.parquet", ".nfs0001", "Thumbs.db"):
        (path / name).touch()  # left by file systems and file managers
    writer(path).abort()

    file = path.with_name("file.nucleus")
    file.write_text("a file")
    with pytest.raises(UserError, match="choose another folder"):
        writer(file)
    assert file.read_text() == "a file"

    for name in ("part", "old", "0123abcd.part", "0123abcd.old"):
        theirs = path.with_name(f"third.nucleus.{name}")
        theirs.mkdir()
        (theirs / "thesis.docx").touch()
    write(path.with_name("third.nucleus"), grid(100, 120))
    assert len(list(path.parent.glob("third.nucleus.*/thesis.docx"))) == 4


def test_no_result_within_a_result(path: Path) -> None:
    write(path, grid(100, 120))
    for folder in (path, path / "labels.zarr" / "new"):
        with pytest.raises(UserError, match=r"slide\.nucleus is a result itself"):
            writer(folder / "slide.nucleus")
    open_result(path)


def test_result_of_another_image_is_never_replaced(path: Path) -> None:
    write(path, grid(100, 120))
    other = {**RUN, "source": {"path": "other.svs", "sha256": "99"}}
    with pytest.raises(UserError, match="result of another image"):
        ResultWriter(path, (100, 120), 0.25, TYPES, other)
    moved = {**RUN, "source": {"path": "moved.svs", "sha256": "ab"}}
    ResultWriter(path, (100, 120), 0.25, TYPES, moved).abort()


def test_one_run_at_a_time_writes_a_result(path: Path) -> None:
    write(path, grid(100, 120))
    with writer(path) as first:
        with pytest.raises(UserError, match=r"slide\.nucleus is being written by another run"):
            writer(path)
        assert open_result(path).run["counts"]["nuclei"] == 56
        first.write_labels(0, 0, grid(100, 120, first=1000))
        first.finish(seconds={})
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 1055
    assert list(path.parent.iterdir()) == [path]


def test_another_process_writes_it(path: Path) -> None:
    write(path, grid(100, 120))
    code = f"""
import pathlib, sys
from napari_nucleus.results import ResultWriter
writer = ResultWriter(pathlib.Path({str(path)!r}), (600, 600), None, {TYPES!r}, {RUN!r})
print("writes", flush=True)
sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == "writes\n"
        with pytest.raises(UserError, match="being written by another run"):
            writer(path)
        other.kill()  # at once, without a chance to clear up
    write(path, grid(100, 120, first=1000))
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 1055
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk" / "big.nucleus"
    write(disk, grid(100, 120))
    path.parent.mkdir()
    path.symlink_to(disk)
    for _ in range(2):
        assert write(path, grid(100, 120, first=1000)).path == path
        assert path.readlink() == disk
        assert open_result(disk).read_labels(0, 0, 120, 100).max() == 1055
        assert [*path.parent.iterdir(), *disk.parent.iterdir()] == [path, disk]
    disk.rename(tmp_path / "unplugged")
    with pytest.raises(UserError, match=r"is a link to .* connect the disk"):
        writer(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller")
    path = tmp_path / name / f"{name}.nucleus"
    source = {"path": f"{path.parent}/{name}.svs", "sha256": "ab"}
    with ResultWriter(path, (100, 120), 0.25, TYPES, {**RUN, "source": source}) as new:
        new.append(nuclei(grid(100, 120)))
        result = new.finish(seconds={})
    assert open_result(path).run["source"]["path"] == source["path"]
    assert result.run["source"]["relative"] == f"{name}.svs"
    assert len(result.table()) == sum(map(len, result.tables(rows=20))) == 56
    json.loads((path / "run.json").read_bytes().decode("utf-8"))


def test_results_of_earlier_versions_have_no_regions(path: Path) -> None:
    result = write(path, grid(100, 120))
    stored = pq.read_table(path / "nuclei.parquet")
    pq.write_table(stored.drop_columns("region"), path / "nuclei.parquet")
    opened = open_result(path)
    pd.testing.assert_frame_equal(opened.table(), result.table())
    assert list(next(opened.tables(rows=10))) == list(result.table())


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        writer(tmp_path / "file" / "slide.nucleus")


@pytest.mark.parametrize("broken", [(zarr.Array, "__setitem__"), (pq.ParquetWriter, "write_table")])
def test_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[type, str]) -> None:
    write(path, grid(100, 120))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*broken, fail)
    with pytest.raises(UserError, match="No space left"):
        write(path, grid(100, 120, first=1000))
    monkeypatch.undo()
    assert open_result(path).read_labels(0, 0, 120, 100).max() == 56
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX")
@pytest.mark.parametrize("limit", [20_000, 200])
def test_files_that_the_system_refuses(path: Path, limit: int) -> None:
    """The real errors of the storage libraries, under a limit on the size of files.

    Writing goes on in other threads after the first of many chunks has failed, unless it is waited
    for: then the folder comes back after it was removed.
    """
    code = f"""
import pathlib, resource, numpy
from napari_nucleus.errors import UserError
from napari_nucleus.results import ResultWriter
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
noise = numpy.random.default_rng(0).integers(0, 2**31, (2048, 2048))
try:
    with ResultWriter(pathlib.Path({str(path)!r}), (2048, 2048), None, {TYPES!r}, {RUN!r}) as new:
        new.write_labels(0, 0, noise)
        new.finish(seconds={{}})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "File too large" in done.stdout, done.stderr
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("box", [(-1, 0, 9, 9), (0, -1, 9, 9), (112, 0, 9, 9), (0, 92, 9, 9)])
def test_boxes_that_leave_the_image(path: Path, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    with (
        writer(path, (100, 120)) as new,
        pytest.raises(IndexError, match="exceeds an image of 120 x 100 px"),
    ):
        new.write_labels(x, y, np.ones((height, width), int))
    result = write(path, grid(100, 120))
    with pytest.raises(IndexError, match="exceeds an image of 120 x 100 px"):
        result.read_labels(x, y, width, height)


def test_tables_that_do_not_fit(path: Path) -> None:
    table = nuclei(grid(100, 120))
    with writer(path) as new:
        with pytest.raises(ValueError, match="columns"):
            new.append(table.drop(columns="area_um2"))
        with pytest.raises(ValueError, match="columns"):
            new.append(table.assign(mood="good"))
        with pytest.raises(ValueError, match=r"unknown types \['ghost'\]"):
            new.append(table.assign(type="ghost"))


def test_an_incomplete_run(path: Path) -> None:
    with writer(path) as new, pytest.raises(ValueError, match="lacks seconds"):
        new.finish()
    assert list(path.parent.iterdir()) == []


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no labels": lambda path: shutil.rmtree(path / "labels.zarr"),
    "no level": lambda path: shutil.rmtree(path / "labels.zarr" / "0"),
    "half of the labels' metadata": lambda path: _truncate(path / "labels.zarr" / "zarr.json"),
    "no table": lambda path: (path / "nuclei.parquet").unlink(),
    "half a table": lambda path: _truncate(path / "nuclei.parquet"),
    "table of something else": lambda path: pd.DataFrame({"a": [1]}).to_parquet(
        path / "nuclei.parquet"
    ),
    "half a run": lambda path: _truncate(path / "run.json"),
    "empty run": lambda path: (path / "run.json").write_text('{"format": 1}'),
    "no run at all": lambda path: (path / "run.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_folders_are_named(path: Path, damage: Callable[[Path], object]) -> None:
    write(path, grid(100, 120))
    damage(path)
    with pytest.raises(UserError, match=r"slide\.nucleus is damaged"):
        open_result(path)


def test_damaged_pixels_are_named(path: Path) -> None:
    result = write(path, grid(100, 120))
    _truncate(path / "labels.zarr" / "0" / "c" / "0" / "0")
    with pytest.raises(UserError, match="is damaged"):
        result.read_labels(0, 0, 120, 100)


def test_no_result(tmp_path: Path) -> None:
    for path in [tmp_path / "nowhere", tmp_path]:
        with pytest.raises(UserError, match="not a result folder"):
            open_result(path)


def test_result_of_a_later_version(path: Path) -> None:
    result = write(path, grid(100, 120))
    (path / "run.json").write_text(json.dumps({**result.run, "format": 2}))
    with pytest.raises(UserError, match="update napari-nucleus"):
        open_result(path)
