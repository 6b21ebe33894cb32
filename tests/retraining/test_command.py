"""``napari-nucleus retrain``."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_nucleus.retraining import Retraining
from napari_nucleus.retraining.loop import retrain, retrain_steps
from napari_nucleus.weights.store import read_card
from tests.test_cli import answer, refusal, run


@pytest.fixture
def given(data: Path, start: Path) -> tuple[object, ...]:
    options = ("--epochs", 1, "--lr", 2e-2, "--train", "all", "--device", "cpu")
    return ("retrain", "--data", data, "--model", start, *options)


@pytest.fixture
def job(data: Path, start: Path) -> Retraining:
    return Retraining(data=(data,), model=str(start), epochs=1, lr=2e-2, train="all", device="cpu")


def test_command_makes_the_model_that_the_library_makes(
    given: tuple, job: Retraining, tmp_path: Path
) -> None:
    found = answer(*given, "--out", tmp_path / "out")
    made = retrain(job, tmp_path / "other")
    assert found["checkpoint"] == str(tmp_path / "out" / "best.safetensors")
    assert (found["before"], found["after"]) == (made.before, made.after)
    assert found["agreement"] == made.agreement
    one, other = load_file(found["checkpoint"]), load_file(made.checkpoint)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_scores_are_shown_and_types_chosen(given: tuple, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(*given, "--out", out, "--types", "pale,dark, pale")
    scores, model = result.stdout.splitlines()
    assert scores.startswith("Training finished. PQ on the validation regions: 0.")
    assert model == f"New model: {out / 'best.safetensors'}"
    assert "before training: PQ 0." in result.stderr
    assert "epoch 1: PQ 0." in result.stderr
    assert read_card(out / "best.safetensors")["types"] == ["pale", "dark"]


def test_model_is_never_replaced(given: tuple, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "best.safetensors").write_bytes(b"a model")
    assert "already contains a model: choose another folder" in refusal(*given, "--out", out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        "best.safetensors": b"a model"
    }


def test_interrupted_run_is_continued(given: tuple, job: Retraining, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps = retrain_steps(job, out)
    for _ in range(5):
        next(steps)
    steps.close()
    assert "or choose another folder (--resume)" in refusal(*given, "--out", out)
    assert "give only --out" in refusal(*given, "--out", out, "--resume")
    found = answer("retrain", "--out", out, "--resume")
    assert found["after"] == retrain(job, tmp_path / "unbroken").after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no training data: add results"),
        (["--data", "{data}", "--lr", "-1"], "lr = -1.0: Input should be greater than 0"),
        (
            ["--data", "{data}", "--model", "{start}", "--types", "blue"],
            "The training data contain no blue",
        ),
        (["--data", "{data}", "--model", "nobody"], "Unknown weights 'nobody'"),
        (["--resume"], "does not contain an interrupted run: leave out --resume"),
    ],
)
def test_command_says_what_to_do(
    data: Path, start: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    filled = [argument.format(data=data, start=start) for argument in arguments]
    assert message in refusal("retrain", *filled, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
