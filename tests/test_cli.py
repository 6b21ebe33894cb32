import json
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from napari_nucleus import training
from napari_nucleus.cli import app
from napari_nucleus.models import create_model, registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.results import open_result
from napari_nucleus.training import loop
from napari_nucleus.training.progress import Step
from napari_nucleus.weights import sam as sam_weights
from napari_nucleus.weights import store
from napari_nucleus.weights.store import read_card
from tests.made_slides import scanner_profile
from tests.tissue import TYPES, Decoder, Tissue, tissue, write_dataset

COMMANDS = ("segment", "export", "evaluate", "train", "retrain", "models")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict:
    """The one JSON object on standard output of a command that succeeds."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refusal(*arguments: object) -> str:
    """The one line on standard error of a command that fails."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.fixture(scope="module")
def made() -> Tissue:
    return tissue(120, 150, 1)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the network that reads nuclei off the pixels."""
    monkeypatch.setitem(
        registry._BUILDERS, "decoder", lambda types, pretrained, mpp: Decoder(types, mpp)
    )
    file = tmp_path / "decoder.safetensors"
    save_checkpoint(file, Decoder())
    return file


@pytest.fixture
def image(tmp_path: Path, made: Tissue) -> Path:
    file = tmp_path / "colon.png"
    Image.fromarray(made.coded()).save(file)
    return file


@pytest.fixture
def segmented(tmp_path: Path, image: Path, weights: Path) -> Path:
    assert (
        run("segment", image, "--out", tmp_path, "--model", weights, "--mpp", 0.25).exit_code == 0
    )
    return tmp_path / "colon.nucleus"


def test_segment_leaves_a_result_and_a_table(segmented: Path, made: Tissue) -> None:
    table = pd.read_csv(segmented.with_suffix(".csv"))
    assert len(table) == len(made.types)
    assert set(table["type"]) == set(TYPES)
    assert {"label", "centroid_x", "area_um2", "hematoxylin_mean"} <= set(table)
    assert open_result(segmented).run["counts"]["nuclei"] == len(made.types)


def test_segment_says_what_it_found(
    tmp_path: Path, image: Path, weights: Path, made: Tissue
) -> None:
    result = run("segment", image, "--out", tmp_path / "out", "--model", weights, "--mpp", "0.25")
    (line,) = result.stdout.splitlines()
    dark = int((made.types == "dark").sum())
    assert line.startswith(f"colon.png: {len(made.types)} nuclei ({dark} dark, ")
    assert line.endswith(f"{tmp_path / 'out' / 'colon.nucleus'}, {tmp_path / 'out' / 'colon.csv'}")


def test_segment_as_json(tmp_path: Path, image: Path, weights: Path, made: Tissue) -> None:
    out = tmp_path / "out"
    given = ("--out", out, "--model", weights, "--mpp", 0.25, "--region", 10, 20, 60, 50)
    found = answer("segment", image, *given, "--device", "cpu")
    (entry,) = found["results"]
    assert found["errors"] == []
    assert (entry["image"], entry["result"]) == (str(image), str(out / "colon.nucleus"))
    assert 0 < entry["counts"]["nuclei"] < len(made.types)
    assert open_result(entry["result"]).run["options"]["region"] == [10, 20, 60, 50]


def test_one_bad_image_does_not_stop_the_others(tmp_path: Path, image: Path, weights: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    given = ("--out", tmp_path / "out", "--model", weights, "--mpp", 0.25)
    result = run("segment", bad, image, tmp_path / "missing.tif", *given, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [entry["image"] for entry in found["results"]] == [str(image)]
    assert [Path(entry["image"]).name for entry in found["errors"]] == ["bad.png", "missing.tif"]
    assert len(result.stderr.splitlines()) == 2
    assert (tmp_path / "out" / "colon.csv").exists()


def test_images_of_one_name_stand_side_by_side(tmp_path: Path, image: Path, weights: Path) -> None:
    twin = tmp_path / "elsewhere" / "colon.png"
    twin.parent.mkdir()
    Image.fromarray(tissue(60, 70, 2).coded()).save(twin)
    out = tmp_path / "out"
    out.mkdir()
    (out / "colon-2.csv").write_text("patient,stage\n17,II\n")
    given = ("segment", image, twin, "--out", out, "--model", weights, "--mpp", 0.25)
    first, second = answer(*given)["results"]
    assert [first["result"], second["result"]] == [
        str(out / "colon.nucleus"),
        str(out / "colon-3.nucleus"),
    ]
    assert second["csv"] == str(out / "colon-3.csv")
    assert second["reason"] == "colon.nucleus is of another image"
    assert len(pd.read_csv(second["csv"])) == second["counts"]["nuclei"]
    assert (out / "colon-2.csv").read_text() == "patient,stage\n17,II\n"
    files = written(out)
    again = answer(*given)["results"]
    assert [entry["result"] for entry in again] == [first["result"], second["result"]]
    assert all(entry["was_finished"] for entry in again)
    assert written(out) == files
    line = run(*given).stdout.splitlines()[1]
    assert line.startswith("colon.png: is segmented already, ")
    assert line.endswith(f"{out / 'colon-3.nucleus'}, {out / 'colon-3.csv'}")


def written(folder: Path) -> dict[Path, int]:
    """When every file was written."""
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_segment_a_folder_beside_its_images(
    tmp_path: Path, image: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Litter is skipped in one line; what fails is in the table at the end, and told at once."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("one.png", "two [red].png", "._one.png"):
        (folder / name).write_bytes(image.read_bytes())
    (folder / "bad.png").write_text("no image")
    (folder / "notes.txt").touch()
    given = ("--model", weights, "--mpp", 0.25)
    result = run("segment", folder, *given)
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [
        "one.png",
        "two [red].png",
    ]
    skipped, failed, *table = result.stderr.splitlines()
    assert skipped == "Skipped, hidden or not an image: ._one.png, notes.txt."
    assert failed.startswith("Error: bad.png is not PNG")
    assert "why" in "".join(table[:3])
    assert "bad.png" in "".join(table[3:])
    assert (folder / "one.csv").exists()
    assert open_result(folder / "two [red].nucleus").run["counts"]["nuclei"] > 0
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: tmp_path / "Documents")
    (entry,) = answer("segment", folder / "o*.png", *given)["results"]
    assert entry["result"] == str(tmp_path / "Documents" / "napari-nucleus" / "one.nucleus")


def test_segment_one_of_several_images(tmp_path: Path, weights: Path, made: Tissue) -> None:
    """The result knows which, and in which colours: it finds them again."""
    pixels = [np.ascontiguousarray(made.coded()[..., ::-1]), tissue(300, 300, 4).coded()]
    profile = scanner_profile()
    with tifffile.TiffWriter(tmp_path / "scan.ome.tif", ome=True) as tif:
        for name, one in zip(("biopsy", "margin"), pixels, strict=True):
            tif.write(one, photometric="rgb", metadata={"Name": name}, iccprofile=profile)
    given = ("--model", weights, "--mpp", 0.25, "--scene", "biopsy", "--srgb")
    (entry,) = answer("segment", tmp_path / "scan.ome.tif", *given)["results"]
    assert entry["result"] == str(tmp_path / "scan biopsy.nucleus")
    assert entry["counts"]["nuclei"] == len(made.types)
    result = open_result(entry["result"])
    slide = result.open_image()
    assert (slide.shape, slide.srgb) == (made.labels.shape, True)
    told = run("segment", tmp_path / "scan.ome.tif", *given[:4]).stderr
    assert told.startswith("scan has 0 biopsy, 1 margin: margin is taken, --scene takes another.")
    line = refusal("segment", tmp_path / "scan.ome.tif", *given[:4], "--scene", "liver")
    assert "no scene liver: choose one of 0 biopsy, 1 margin (--scene)" in line


def test_segment_without_an_image(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "empty").mkdir()
    given = ("--model", weights, "--mpp", 0.25)
    assert "empty does not contain an image: give TIFF" in refusal(
        "segment", tmp_path / "empty", *given
    )
    assert "*.svs does not exist" in refusal("segment", tmp_path / "*.svs", *given)
    result = run("segment", tmp_path / "x.nucleus", tmp_path / "empty", *given, "--json")
    assert result.exit_code == 1
    assert "empty does not contain" in json.loads(result.stdout)["errors"][0]["error"]


@pytest.mark.parametrize(
    ("mpp", "advice"), [(250, "give 0.25"), (0.0005, "give 0.5"), (-1, ""), ("nan", ""), (0, "")]
)
def test_implausible_mpp_is_refused_at_once(
    tmp_path: Path, image: Path, mpp: object, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before weights or images are read, once for all of them, with the unit and the option."""
    line = refusal("segment", image, tmp_path / "b.png", "--model", "nobody", "--mpp", mpp)
    assert f"{mpp} µm/px is not a plausible pixel size" in line
    assert advice in line
    assert line.endswith("0.5 for 20x (--mpp).")
    assert "(--mpp)" in refusal("evaluate", "--data", tmp_path, "--mpp", mpp)


def test_unexpected_error_costs_one_image(
    tmp_path: Path, image: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = tmp_path / "other.png"
    other.write_bytes(image.read_bytes())
    find, calls = Decoder.find, iter([ZeroDivisionError("by zero"), None])

    def fail_once(self: Decoder, maps: dict) -> tuple:
        if error := next(calls):
            raise error
        return find(self, maps)

    monkeypatch.setattr(Decoder, "find", fail_once)
    given = ("--out", tmp_path / "out", "--model", weights, "--mpp", 0.25)
    result = run("segment", image, other, *given, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [entry["image"] for entry in found["results"]] == [str(other)]
    assert "Unexpected ZeroDivisionError: by zero. Full" in found["errors"][0]["error"]
    assert not (tmp_path / "out" / "colon.nucleus").exists()


def test_ctrl_c_says_what_was_kept(
    tmp_path: Path, image: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(image.read_bytes())
    find, calls = Decoder.find, iter([None, KeyboardInterrupt()])

    def press(self: Decoder, maps: dict) -> tuple:
        if error := next(calls):
            raise error
        return find(self, maps)

    monkeypatch.setattr(Decoder, "find", press)
    out = tmp_path / "out"
    result = run("segment", image, other, "--out", out, "--model", weights, "--mpp", 0.25)
    assert result.exit_code == 130
    assert result.stderr == (
        "Stopped: 1 of 2 images are segmented and kept, nothing of other.png is.\n"
    )
    assert sorted(file.name for file in out.iterdir()) == ["colon.csv", "colon.nucleus"]


def test_image_without_nuclei_is_no_mistake(tmp_path: Path, weights: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((50, 60, 3), (255, 128, 128), np.uint8)).save(blank)
    result = run("segment", blank, "--out", tmp_path / "out", "--model", weights, "--mpp", "0.25")
    assert result.exit_code == 0
    assert result.stdout.startswith("blank.png: no nuclei found")
    assert open_result(tmp_path / "out" / "blank.nucleus").table().empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "{weights}"], "The µm/px of colon is unknown"),
        (["--model", "{weights}", "--mpp", "-1"], "not a plausible pixel size"),
        (["--model", "nobody", "--mpp", "1"], "Unknown weights 'nobody'"),
        (["--model", "old.pth", "--mpp", "1"], "is a pickled file"),
        (["--model", "{image}", "--mpp", "1"], "is damaged or not a safetensors file"),
        (
            ["--model", "{weights}", "--mpp", "1", "--region", "900", "0", "5", "5"],
            "holds no pixel of colon",
        ),
        (["--model", "{weights}", "--mpp", "1", "--device", "cuda:77"], "'cuda:77' cannot be used"),
    ],
)
def test_segment_tells_what_to_do(
    tmp_path: Path, image: Path, weights: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(weights=weights, image=image) for argument in arguments]
    assert message in refusal("segment", image, "--out", tmp_path / "out", *given)
    assert not list(tmp_path.glob("out/*"))


def test_segment_below_a_file_is_told(image: Path, weights: Path) -> None:
    told = refusal("segment", image, "--out", image / "r", "--model", weights, "--mpp", "0.25")
    assert "a file is where a folder should be" in told
    assert "free some space" not in told


def test_export_writes_every_format(segmented: Path, made: Tissue, tmp_path: Path) -> None:
    files = {
        kind: str(tmp_path / f"made.{ending}")
        for kind, ending in {
            "csv": "csv",
            "geojson": "geojson",
            "parquet": "parquet",
            "labels": "tif",
            "overlay": "png",
        }.items()
    }
    options = [part for kind, file in files.items() for part in (f"--{kind}", file)]
    assert answer("export", segmented, *options)["written"] == files
    count = len(made.types)
    assert len(pd.read_csv(files["csv"])) == count
    assert len(pd.read_parquet(files["parquet"])) == count
    assert len(json.loads(Path(files["geojson"]).read_text())["features"]) == count
    assert np.array_equal(tifffile.imread(files["labels"]) > 0, made.labels > 0)
    assert Image.open(files["overlay"]).size == (150, 120)


def test_export_tells_what_to_do(segmented: Path, tmp_path: Path) -> None:
    assert "Say what to write: --csv FILE" in refusal("export", segmented)
    assert "is not a result folder" in refusal("export", tmp_path, "--csv", tmp_path / "x.csv")


def test_export_destroys_nothing(segmented: Path, image: Path, tmp_path: Path) -> None:
    before = image.read_bytes()
    told = refusal("export", segmented, "--csv", tmp_path / "x.csv", "--overlay", image)
    assert f"{image} is the image that was segmented" in told
    twice = tmp_path / "elsewhere" / ".." / "x.csv"
    told = refusal("export", segmented, "--csv", tmp_path / "x.csv", "--geojson", twice)
    assert "is given twice" in told
    told = refusal("export", segmented, "--parquet", segmented / "nuclei.parquet")
    assert "is in the result" in told
    assert image.read_bytes() == before
    assert not (tmp_path / "x.csv").exists()


def test_export_of_a_moved_image(segmented: Path, image: Path, tmp_path: Path) -> None:
    moved = image.rename(tmp_path / "moved.png")
    overlay = tmp_path / "overlay.png"
    assert "put the image back" in refusal("export", segmented, "--overlay", overlay)
    answer("export", segmented, "--overlay", overlay, "--image", moved)
    assert Image.open(overlay).size == (150, 120)


def test_evaluate_a_model(tmp_path: Path, weights: Path) -> None:
    one = write_dataset(tmp_path / "one", {"a": tissue(80, 90, 1)}, coded=True)
    two = write_dataset(tmp_path / "two", {"b": tissue(90, 80, 2)}, coded=True)
    together = answer("evaluate", "--model", weights, "--data", one, two)
    assert together["images"] == 2
    assert together["pq"] == pytest.approx(1, abs=1e-3)
    assert together["f1"] == {"dark": 1, "pale": 1}
    assert answer("evaluate", "--data", one, "--model", weights, "--data", two) == together
    shown = run("evaluate", "--model", weights, "--data", one, two).stdout
    assert "PQ" in shown
    assert all(name in shown for name in ("one (1)", "two (1)", "dark", "annotated"))


def test_evaluate_draws_and_lists_images(tmp_path: Path, weights: Path) -> None:
    data = write_dataset(
        tmp_path / "made",
        {"a": tissue(80, 90, 1), "b": Tissue(np.zeros((40, 40), np.int32), np.array([]))},
    )
    figure = tmp_path / "scores.png"
    result = run("evaluate", "--pred", data, "--truth", data, "--figure", figure, "--per-image")
    assert result.exit_code == 0, result.stderr
    assert Image.open(figure).format == "PNG"
    assert re.search(r"PQ +│ 1.000 +│", result.stdout)
    assert re.search(r"made +│ b +│ –", result.stdout)
    assert (
        "excluded from the means: Dice of 1 image, AJI of 1 image, PQ of 1 image." in result.stdout
    )
    wrong = ("evaluate", "--pred", data, "--truth", data, "--figure", tmp_path / "scores.doc")
    assert "name a .png, .pdf or .svg" in refusal(*wrong)
    assert "has no part 'test'" in refusal(
        "evaluate", "--data", data, "--part", "test", "--model", weights
    )


def test_evaluate_folders(segmented: Path, made: Tissue, tmp_path: Path) -> None:
    truth = write_dataset(tmp_path / "truth", {"colon": made})
    scores = answer("evaluate", "--pred", segmented.parent, "--truth", truth)
    assert scores["per_image"][0]["name"] == "colon"
    assert scores["aji"] == 1


def test_scores_that_are_undefined_are_null(tmp_path: Path) -> None:
    empty = write_dataset(
        tmp_path / "empty", {"a": Tissue(np.zeros((9, 9), np.int32), np.array([]))}
    )
    scores = answer("evaluate", "--pred", empty, "--truth", empty)
    assert scores["pq"] is None
    assert scores["ci95"]["pq"] == [None, None]


def test_evaluate_tells_what_to_do(tmp_path: Path) -> None:
    assert "Give either a model and data" in refusal("evaluate")
    assert "fits no known format" in refusal(
        "evaluate", "--data", tmp_path, "--model", quick_weights(tmp_path)
    )


def quick_weights(folder: Path) -> Path:
    file = folder / "atto.safetensors"
    save_checkpoint(file, create_model("histonext_atto", TYPES, pretrained=False))
    return file


RECIPE = """
patch = 32
epoch = 1
validate_every = 1
[[phases]]
epochs = 2
batch = 1
[options]
pretrained = false
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", {name: tissue(64, 64, 1) for name in "ab"})


@pytest.mark.slow
def test_train_and_go_on(tmp_path: Path, data: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    given = ("train", "--data", data, "--model", "histonext_atto", "--out", out, "--config", recipe)
    found = answer(*given)
    assert found["checkpoint"] == str(out / "best.safetensors")
    assert 0 <= found["score"] <= 1
    assert set(found["datasets"]) == {"data"}
    assert 0 < found["network_share"] < 1
    assert read_card(out / "best.safetensors")["types"] == ["dark", "pale"]
    assert "(--resume)" in refusal(*given)
    recipe.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    result = run(*given, "--resume")
    assert result.exit_code == 0
    share, score = result.stdout.splitlines()
    assert share.startswith("Network time: ")
    assert score.startswith("Score 0.")
    assert score.endswith(str(out / "best.safetensors"))
    assert "epoch 3, step 3: loss np" in result.stderr
    assert "step 2: loss" not in result.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_the_training_step(
    tmp_path: Path, data: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*given: Any) -> Generator[Step, None, Path]:
        with closing(loop.train_steps(*given)) as steps:
            yield next(steps)
            signal.raise_signal(signal.SIGINT)
            yield next(steps)
        raise AssertionError("it goes on")

    out = tmp_path / "run"
    given = ("train", "--data", data, "--model", "histonext_atto", "--out", out, "--config", recipe)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_steps", pressed)
        result = run(*given)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "Stopping after this step" in result.stderr
    *_, stopped = result.stderr.splitlines()
    assert stopped == f"Stopped: {out} keeps the run; add --resume to continue it."
    assert torch.load(out / "state.pt", weights_only=True)["progress"]["step"] == 2
    assert answer(*given, "--resume")["checkpoint"] == str(out / "best.safetensors")


@pytest.mark.slow
def test_train_draws_what_the_network_would_see(tmp_path: Path, data: Path, recipe: Path) -> None:
    file = tmp_path / "seen.png"
    given = ("train", "--data", data, "--config", recipe, "--preview", file)
    assert answer(*given) == {"preview": str(file)}
    assert Image.open(file).width > 1000
    assert "something.png" in refusal(*given[:-1], tmp_path / "seen.txt")
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "recipe.toml", "seen.png"}
    assert "--out DIR" in refusal(*given[:-2])


@pytest.mark.slow
def test_train_from_other_weights_takes_their_kind(tmp_path: Path, data: Path) -> None:
    model = create_model("histonext_atto", ["pale", "dark"], pretrained=False, window=64)
    model.mpp = 0.5
    start = tmp_path / "start.safetensors"
    save_checkpoint(start, model)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.partition("[options]")[0])
    out = tmp_path / "run"
    found = run("train", "--data", data, "--out", out, "--init", start, "--config", recipe)
    assert found.exit_code == 0, found.stderr
    card = read_card(out / "best.safetensors")
    assert (card["types"], card["mpp"], card["options"]) == (["pale", "dark"], 0.5, {"window": 64})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{data}", "--model", "histonext_tny"], "did you mean histonext_tiny"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--data", "{data}", "--config", "nowhere.toml"], "cannot be read as a recipe"),
        (["--data", "{data}", "--resume"], "does not contain a run to resume"),
        (["--data", "{data}", "--init", "weights.pt"], "is a pickled file"),
    ],
)
def test_train_tells_what_to_do(
    tmp_path: Path, data: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(data=data) for argument in arguments]
    assert message in refusal("train", *given, "--out", tmp_path / "run")


def test_models_lists_architectures_and_weights(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "trained_dir", lambda: weights.parent)
    found = answer("models")
    assert "histonext_tiny" in found["architectures"]
    entry = next(entry for entry in found["weights"] if entry["name"] == "decoder")
    assert (entry["types"], entry["file"]) == (list(TYPES), str(weights))
    (weights.parent / "broken.safetensors").write_text("half")
    shown = run("models")
    assert shown.exit_code == 0
    assert "histonext_xlarge" in shown.stdout
    assert "decoder" in shown.stdout
    assert "broken.safetensors is damaged" in shown.stderr


@pytest.mark.slow
def test_models_tells_about_an_architecture() -> None:
    found = answer("models", "histonext_tiny")
    assert found["parameters"] == pytest.approx(82.6e6, rel=0.005)
    assert found["gmac"] == pytest.approx(33.7, rel=0.05)
    shown = run("models", "histonext_tiny").stdout
    assert "82.5 million" in shown
    assert "33.6 per 270 px patch" in shown


@pytest.mark.slow
def test_models_tells_about_weights(tmp_path: Path) -> None:
    model = create_model("histonext_atto", TYPES, pretrained=False)
    model.card = {
        "licence": "BSD-3-Clause",
        "data": {"made": {"training": 4, "validation": 1}},
        "scores": {"score": 0.5, "datasets": {"made": {"dice": 0.8, "aji": 0.6, "pq": 0.55}}},
    }
    file = tmp_path / "mine.safetensors"
    save_checkpoint(file, model)
    found = answer("models", file)
    assert (found["architecture"], found["mpp"]) == ("histonext_atto", 0.25)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    shown = run("models", file).stdout
    for part in ("dark, pale", "BSD-3-Clause", "made (4 images", "AJI 0.600", str(file)):
        assert part in shown


@pytest.mark.slow
def test_models_tells_how_to_get_a_missing_sam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store, sam_weights):
        monkeypatch.setattr(module, "trained_dir", lambda: tmp_path)
    save_checkpoint(tmp_path / "guided.safetensors", create_model("sam_eunet3plus_small"))
    listed = " ".join(run("models").stdout.split())
    assert "guided: MobileSAM needs its weights (41 MB)" in listed
    found = answer("models", "guided")["sam"]
    assert found["kind"] == "vit_t"
    assert "put mobile_sam.pt from https" in found["missing"]
    shown = " ".join(run("models", "sam_eunet3plus_b").stdout.split())
    assert "requires SAM ViT-B, SHA-256 ec2df6273261…" in shown
    assert "missing SAM ViT-B needs its weights (375 MB)" in shown


def test_models_tells_what_to_do(tmp_path: Path) -> None:
    assert "did you mean histonext_tiny" in refusal("models", "histonext_tny")
    assert "Unknown weights" in refusal("models", tmp_path / "none.safetensors")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


@pytest.mark.slow
def test_program_is_installed_and_ends_with_a_status() -> None:
    program = Path(sys.executable).with_name("napari-nucleus")
    helped = subprocess.run([program, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0
    assert all(command in helped.stdout for command in COMMANDS)
    failed = subprocess.run(
        [program, "export", "none", "--csv", "x"], capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr == "Error: none is not a result folder: segment an image to make one.\n"
