"""A run that breaks off at any step and goes on is the run that did not break."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_nucleus.training import loop, train, train_steps
from napari_nucleus.training.learner import Learner
from napari_nucleus.training.progress import Step
from napari_nucleus.training.recipe import Phase
from tests.training.tiny import SHORT, log_of, same, weights_of

RECIPE = replace(
    SHORT,
    epoch=6,
    validate_every=2,
    patience=3,
    optimizer="adam",
    weight_decay=0,
    phases=(
        Phase(epochs=2, batch=2, train="decoder"),
        Phase(epochs=2, batch=1, accumulate=3, lr=3e-3),
    ),
)
"""Ten steps: twice three, twice two."""


@pytest.fixture(autouse=True, scope="module")
def without_the_end() -> Iterator[None]:
    """Constants and curves are not what these tests are about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fit_parameters", lambda *_: [{}])
        patch.setattr(loop, "draw_curves", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    train(RECIPE, [data], out)
    return out


def scores_of(out: Path) -> list[dict]:
    return [json.loads(row["scores"]) for row in log_of(out) if row["scores"]]


def assert_same_run(one: Path, other: Path) -> None:
    assert same(weights_of(one), weights_of(other))
    for key in ("step", "epoch", "np", "hv", "tp"):
        assert [row[key] for row in log_of(one)] == [row[key] for row in log_of(other)]
    assert [of["score"] for of in scores_of(one)] == [of["score"] for of in scores_of(other)]
    states = (torch.load(out / "state.pt", weights_only=True) for out in (one, other))
    first, second = (state["progress"] for state in states)
    assert first == second


def test_there_are_ten_steps(unbroken: Path) -> None:
    assert [row["step"] for row in log_of(unbroken)] == [str(step) for step in range(1, 11)]
    assert [row["epoch"] for row in log_of(unbroken)] == list("1112223344")
    assert len(scores_of(unbroken)) == 2


@pytest.mark.parametrize("steps", range(1, 11))
def test_closed_after_any_step(unbroken: Path, data: Path, tmp_path: Path, steps: int) -> None:
    broken = train_steps(RECIPE, [data], tmp_path)
    done = [next(broken) for _ in range(steps)]
    broken.close()
    more: list[Step] = list(train_steps(RECIPE, [data], tmp_path, resume=True))
    assert [step.step for step in (*done, *more)] == list(range(1, 11))
    assert_same_run(unbroken, tmp_path)


@pytest.mark.parametrize("step", [5, 8])
def test_killed_within_an_epoch(
    unbroken: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """As by kill -9: nothing more is written, and the log ends within a row."""
    run = train_steps(RECIPE, [data], tmp_path)
    for _ in range(step - 1):
        next(run)
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(run)
    with (tmp_path / "log.csv").open("a") as log:
        log.write(f"{step},3,2026-")
    more = list(train_steps(RECIPE, [data], tmp_path, resume=True))
    assert more[0].step == {5: 4, 8: 7}[step]
    assert_same_run(unbroken, tmp_path)


def test_run_that_is_over_stays_as_it_is(unbroken: Path, data: Path) -> None:
    before = weights_of(unbroken)
    assert list(train_steps(RECIPE, [data], unbroken, resume=True)) == []
    assert same(before, weights_of(unbroken))


def test_more_epochs_go_on(data: Path, tmp_path: Path) -> None:
    (phase,) = SHORT.phases
    train(SHORT, [data], tmp_path / "longer")
    longer = replace(SHORT, phases=(replace(phase, epochs=3),))
    steps = list(train_steps(longer, [data], tmp_path / "longer", resume=True))
    assert [step.step for step in steps] == [5, 6]
    train(SHORT, [data], tmp_path / "more")
    more = replace(SHORT, phases=(phase, Phase(epochs=1, batch=4)))
    assert [step.step for step in train_steps(more, [data], tmp_path / "more", resume=True)] == [5]
