"""``napari-nucleus segment``: many images, stopped and gone on with."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from napari_nucleus.cli import app
from napari_nucleus.models import registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.results import open_result
from tests.tissue import Decoder, tiled, tissue

Run = Callable[..., Result]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Two images of one stem, of 12 tiles each."""
    files = [tmp_path / name / "colon.png" for name in "ab"]
    for seed, file in enumerate(files):
        file.parent.mkdir()
        Image.fromarray(tissue(190, 250, seed).coded()).save(file)
    return files


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Segment into one folder."""
    monkeypatch.setitem(
        registry._BUILDERS,
        "decoder",
        lambda types, pretrained, mpp: tiled(Decoder(types, mpp), 64, 32),
    )
    save_checkpoint(tmp_path / "decoder.safetensors", Decoder())
    fixed = "--model", tmp_path / "decoder.safetensors", "--out", tmp_path / "out"

    def run(*given: object) -> Result:
        mpp = () if "--mpp" in given else ("--mpp", 0.25)
        return CliRunner().invoke(app, [str(one) for one in ("segment", *given, *fixed, *mpp)])

    return run


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Press Ctrl+C while a tile is made."""
    find = Decoder.find

    def at(tile: int) -> None:
        made = iter(range(10_000))

        def press(self: Decoder, maps: dict) -> tuple[np.ndarray, pd.DataFrame]:
            if next(made) == tile:
                os.kill(os.getpid(), signal.SIGINT)
            return find(self, maps)

        monkeypatch.setattr(Decoder, "find", press)

    return at


def test_stopped_command_goes_on(
    images: list[Path], run: Run, stop: Callable[[int], None], tmp_path: Path
) -> None:
    """With the second image, without doing a tile twice, to the result that it would have had."""
    stop(12 + 5)
    stopped = run(*images)
    assert stopped.exit_code == 130
    out = tmp_path / "out"
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith("Stopped: 1 of 2 images are segmented, and ")
    assert last.endswith(" of 12 tiles of colon.png are kept: the same command goes on from there.")
    kept = len(list((out / "colon-2.nucleus.unfinished").glob("*.npz")))
    assert 4 <= kept < 12
    first = (out / "colon.nucleus" / "run.json").stat().st_mtime_ns

    again = run(*images)
    assert again.exit_code == 0
    assert f"Going on: {kept} of 12 tiles were there." in again.stderr
    assert again.stdout.startswith("colon.png: is segmented already, ")
    assert (out / "colon.nucleus" / "run.json").stat().st_mtime_ns == first
    assert not list(out.glob("*.unfinished"))
    (alone,) = json.loads(run(images[1], "--json", "--out", tmp_path / "alone").stdout)["results"]
    expected, found = open_result(alone["result"]), open_result(out / "colon-2.nucleus")
    assert found.table().equals(expected.table())
    assert np.array_equal(np.asarray(found.labels[0]), np.asarray(expected.labels[0]))
    assert (out / "colon-2.csv").read_bytes() == Path(alone["csv"]).read_bytes()


def test_resume_goes_on_with_the_same_alone(
    images: list[Path], run: Run, stop: Callable[[int], None], tmp_path: Path
) -> None:
    stop(3)
    run(images[0])
    (unfinished,) = (tmp_path / "out").iterdir()
    for given, name in ((("--mpp", 0.26), "µm/px"), (("--tissue", "all"), "tissue")):
        refused = run(images[0], "--resume", *given)
        assert refused.exit_code == 1
        (line,) = refused.stderr.splitlines()
        assert f"colon.nucleus.unfinished was begun with another {name}: take the same" in line
    assert list((tmp_path / "out").iterdir()) == [unfinished]
    # another image of that name is none of its business
    both = run(images[1], images[0], "--resume", "--json")
    results = [Path(entry["result"]).name for entry in json.loads(both.stdout)["results"]]
    assert results == ["colon-2.nucleus", "colon.nucleus"]


def test_other_settings_are_begun_beside(
    images: list[Path], run: Run, stop: Callable[[int], None]
) -> None:
    stop(3)
    run(images[0])
    (entry,) = json.loads(run(images[0], "--json", "--tissue", "all").stdout)["results"]
    assert Path(entry["result"]).name == "colon-2.nucleus"
    assert entry["reason"] == "colon.nucleus is unfinished, with another tissue"
    assert open_result(entry["result"]).run["options"]["tissue"] == "all"


def test_report_tells_tissue_and_stages(images: list[Path], run: Run) -> None:
    (entry,) = json.loads(run(images[0], "--json").stdout)["results"]
    assert entry["tissue"] == 1
    assert list(entry["stages"]) == ["reading", "network", "nuclei", "writing", "joining"]
    assert sum(stage["share"] for stage in entry["stages"].values()) == pytest.approx(1, abs=0.01)
    assert all(stage["seconds"] >= 0 for stage in entry["stages"].values())
    (line,) = run(images[1]).stdout.splitlines()
    for part in (" s, 100% tissue, reading ", "%, network ", "%, nuclei ", "%, joining "):
        assert part in line
