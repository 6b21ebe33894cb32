"""What is left of a run can be damaged: it is told, and nothing is lost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_nucleus.errors import UserError
from napari_nucleus.training.curves import draw_curves
from napari_nucleus.training.progress import Step
from napari_nucleus.training.run_folder import RunFolder
from tests.training.tiny import log_of


def step(number: int) -> Step:
    scores = {"score": 0.5, "datasets": {}} if number % 2 == 0 else None
    return Step(number, 9, number, 9, {"np": 1 / number, "hv": 0.25}, scores, 0.1, 0.05)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of six steps, whose state is that after the fourth."""
    folder = RunFolder(tmp_path, resume=False)
    for number in range(1, 7):
        folder.add(step(number))
    parts: dict[str, dict] = {key: {} for key in ("model", "average", "scaler", "optimizer")}
    folder.save_state({"progress": {"step": 4}, **parts})
    return tmp_path


def contents(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}


def steps_in(run: Path) -> list[str]:
    return [row["step"] for row in log_of(run)]


def resumed(run: Path) -> RunFolder:
    folder = RunFolder(run, resume=True)
    folder.load_state()
    return folder


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3 :: 7] = bytes(len(content[len(content) // 3 :: 7]))
    file.write_bytes(content)


def directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def written(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def saved(state: object) -> Callable[[Path], object]:
    return lambda file: torch.save(state, file)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        directory,
        written(b""),
        written(bytes(5000)),
        written(b"no state"),
        written(b"PK\3\4 half of it"),
        written("Überhaupt nicht".encode("utf-16")),
        saved([1, 2]),
        saved(None),
        saved({"progress": {"step": 4}}),
        saved({"progress": 4, "model": {}, "average": {}, "scaler": {}, "optimizer": {}}),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_damaged_state_is_told(run: Path, damage: Callable[[Path], None], last: bool) -> None:
    folder = RunFolder(run, resume=True)
    if last:
        folder.last.write_bytes(b"weights")
    damage(folder.state)
    before = contents(run)
    with pytest.raises(
        UserError, match=r"state\.pt is damaged: start .* in another folder"
    ) as told:
        resumed(run)
    assert (str(folder.last) in str(told.value)) is last
    assert told.value.setting == ("init" if last else "")
    assert contents(run) == before


def test_log_is_taken_back_to_the_state(run: Path) -> None:
    with (run / "log.csv").open("a") as file:
        file.write("7,7,2026-")
    folder = resumed(run)
    assert steps_in(run) == list("1234")
    folder.add(step(5))
    assert steps_in(run) == list("12345")
    assert not (run / "log-damaged.csv").exists()


def test_missing_log_is_begun_again(run: Path) -> None:
    (run / "log.csv").unlink()
    resumed(run).add(step(5))
    assert steps_in(run) == ["5"]
    assert set(contents(run)) == {"log.csv", "state.pt"}


@pytest.mark.parametrize(
    "damage",
    [
        written(bytes(500)),
        written(b"\xff\xfe\x00garbage\n\x80,1,2\n"),
        written(b"my notes"),
        written(b"a,b\n1,2\n"),
        written(b'"' + bytes(200_000)),
    ],
)
def test_garbage_log_is_kept_and_begun_again(
    run: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    damage(run / "log.csv")
    before = (run / "log.csv").read_bytes()
    resumed(run).add(step(5))
    assert steps_in(run) == ["5"]
    assert (run / "log-damaged.csv").read_bytes() == before
    assert "log.csv is damaged, and kept as log-damaged.csv" in caplog.text
    damage(run / "log.csv")
    resumed(run)
    assert (run / "log-damaged-2.csv").read_bytes() == before


def test_directory_instead_of_the_log_is_kept(run: Path) -> None:
    directory(run / "log.csv")
    (run / "log.csv" / "mine").touch()
    resumed(run).add(step(5))
    assert steps_in(run) == ["5"]
    assert (run / "log-damaged.csv" / "mine").exists()


def test_whole_rows_of_a_damaged_log_go_on(run: Path) -> None:
    log = run / "log.csv"
    lines = log.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace("2,2,", "2,?,")
    log.write_text("\n".join(lines))
    before = log.read_bytes()
    resumed(run)
    assert steps_in(run) == list("134")
    assert (run / "log-damaged.csv").read_bytes() == before
    scores = [row["scores"] for row in log_of(run)]
    assert [json.loads(text)["score"] if text else None for text in scores] == [None, None, 0.5]


def test_curves_of_a_damaged_log(run: Path) -> None:
    """At the end of a run, hours of work do not depend on its log."""
    log, curves = run / "log.csv", run / "curves.png"
    draw_curves(run / "none.csv", curves)
    assert not curves.exists()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + bytes(300) + b"\n")
    draw_curves(log, curves)  # one row, without scores
    assert curves.read_bytes().startswith(b"\x89PNG")
    log.write_bytes(bytes(300))
    curves.unlink()
    draw_curves(log, curves)
    assert not curves.exists()
