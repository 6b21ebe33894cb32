import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_nucleus.errors import UserError
from napari_nucleus.instances import HOVER
from napari_nucleus.models import create_model
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.training import run, train, train_steps
from napari_nucleus.training.progress import Step
from napari_nucleus.training.recipe import Phase, Recipe
from napari_nucleus.weights.store import read_card
from tests.training.tiny import SHORT, Tiny, log_of, same, weights_of


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run left."""
    out = tmp_path_factory.mktemp("run")
    assert train(SHORT, [data], out) == out / "best.safetensors"
    return out


@pytest.mark.slow
def test_a_few_steps_teach_blobs_and_their_types(data: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        options={"pretrained": False, "window": 64},
        patch=64,
        augment="basic",
        warmup=8,
        ema=0.9,
        epoch=72,
        validate_every=2,
        phases=(Phase(epochs=2, batch=4, lr=2e-3),),
    )
    steps = list(train_steps(recipe, [data], tmp_path))
    assert [(step.step, step.total) for step in steps] == [(i, 36) for i in range(1, 37)]
    assert [step.epoch for step in steps] == [1] * 18 + [2] * 18
    assert all(0 < step.network_seconds < step.seconds for step in steps)
    first, last = (
        np.mean([sum(step.losses.values()) for step in some]) for some in (steps[:8], steps[-8:])
    )
    assert last < 0.6 * first
    card = read_card(tmp_path / "best.safetensors")["card"]
    found = card["scores"]["datasets"]["made"]
    assert found["aji"] > 0.8
    assert found["f1d"] > 0.9
    assert np.mean(list(found["f1"].values())) > 0.6
    assert card["scores"]["score"] == pytest.approx(
        (found["aji"] + np.mean(list(found["f1"].values()))) / 2
    )


def test_one_seed_gives_one_model(out: Path, data: Path, tmp_path: Path) -> None:
    train(SHORT, [data], tmp_path / "again")
    train(replace(SHORT, seed=1), [data], tmp_path / "other")
    assert same(weights_of(out), weights_of(tmp_path / "again"))
    assert not same(weights_of(out), weights_of(tmp_path / "other"))


def test_thread_trains_as_well(out: Path, data: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, SHORT, [data], tmp_path).result() == tmp_path / "best.safetensors"
    assert same(weights_of(out), weights_of(tmp_path))


def test_run_leaves_weights_log_and_card(out: Path) -> None:
    files = {"best.safetensors", "last.safetensors", "log.csv", "state.pt", "curves.png"}
    assert {file.name for file in out.iterdir()} == files
    rows = log_of(out)
    assert list(rows[0]) == [
        *("step", "epoch", "time", "seconds", "network_seconds"),
        *("np", "hv", "tp", "scores"),
    ]
    assert [row["epoch"] for row in rows] == ["1", "1", "2", "2"]
    assert [bool(row["scores"]) for row in rows] == [False, True, False, True]
    model = load_checkpoint(out / "best.safetensors")
    assert (model.name, model.types, model.mpp) == ("tiny", ("dark", "pale"), 0.25)
    assert set(model.instances) == set(HOVER.published)
    assert model.card["recipe"]["phases"][0]["epochs"] == 2
    assert model.card["version"] == version("napari-nucleus")
    assert model.card["data"] == {"made": {"training": 4, "validation": 1}}
    logged = [json.loads(row["scores"])["score"] for row in rows if row["scores"]]
    assert model.card["step"] == 2 * (1 + int(np.argmax(logged)))


def test_average_of_the_weights_is_what_is_kept(out: Path, data: Path, tmp_path: Path) -> None:
    weights, kept = weights_of(out), load_file(out / "last.safetensors")
    for key in ("encoder.0.weight", "encoder.1.running_mean"):
        average, last = (
            weights[f"{of}.{key}"].to(kept[key].dtype) for of in ("average.module", "model")
        )
        assert torch.equal(kept[key], average)
        assert not torch.equal(kept[key], last)
    train(replace(SHORT, ema=0), [data], tmp_path)
    weights, kept = weights_of(tmp_path), load_file(tmp_path / "last.safetensors")
    assert torch.equal(kept["encoder.0.weight"], weights["model.encoder.0.weight"].half())


def test_best_is_what_scored_highest(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.2])
    monkeypatch.setattr(run, "summarize_validation", lambda *_: {"score": next(scores)})
    steps = train_steps(SHORT, [data], tmp_path)
    assert [next(steps).step for _ in range(4)] == [1, 2, 3, 4]
    steps.close()
    cards = [read_card(tmp_path / f"{name}.safetensors")["card"] for name in ("best", "last")]
    assert [(card["step"], card["scores"]["score"]) for card in cards] == [(2, 0.5), (4, 0.2)]


def test_an_epoch_of_no_number_covers_the_images(data: Path, tmp_path: Path) -> None:
    """Four images of 96 px have nine patches of 32 px each."""
    steps = train_steps(replace(SHORT, epoch=0), [data], tmp_path)
    assert next(steps).total == 2 * 4 * 9 / 2
    steps.close()


def test_dataset_under_another_name_than_the_recipes_is_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    next(train_steps(replace(SHORT, data={"made": {}}), [data], tmp_path / "known"))
    assert not caplog.records
    next(train_steps(replace(SHORT, data={"CoNSeP": {}}), [data], tmp_path / "strange"))
    assert "but not for made" in caplog.text


def test_run_is_not_overwritten(out: Path, data: Path, tmp_path: Path) -> None:
    before = (out / "last.safetensors").read_bytes()
    with pytest.raises(UserError, match="contains a run: resume it, or"):
        train(SHORT, [data], out)
    assert (out / "last.safetensors").read_bytes() == before
    with pytest.raises(UserError, match="does not contain a run to resume"):
        train(SHORT, [data], tmp_path, resume=True)


def test_state_is_not_unpickled(data: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "run by the file"),)

    torch.save({"progress": {"step": 1}, "trap": Trap()}, tmp_path / "state.pt")
    with pytest.raises(UserError, match=r"state\.pt is damaged"):
        train(SHORT, [data], tmp_path, resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_state_of_another_run_is_told(out: Path, data: Path, tmp_path: Path) -> None:
    steps = train_steps(SHORT, [data], tmp_path)
    next(steps)
    steps.close()
    other = replace(SHORT, options={"norm": False})
    with pytest.raises(UserError, match="does not fit tiny with 2 types"):
        train(other, [data], tmp_path, resume=True)
    other = replace(SHORT, phases=(replace(SHORT.phases[0], train="types"),))
    with pytest.raises(UserError, match="belongs to a run with other phases"):
        train(other, [data], tmp_path, resume=True)


def test_loss_that_is_no_number_stops_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = train_steps(replace(SHORT, phases=(Phase(epochs=4, batch=2),)), [data], tmp_path)
    done = [next(steps), next(steps), next(steps)]
    good = (tmp_path / "last.safetensors").read_bytes()
    monkeypatch.setattr(Tiny, "forward", lambda self, x: {"np": self.np(self.encoder(x)) / 0})
    with pytest.raises(UserError, match=r"not a number at step 4, with patches of made/[a-d][:,]"):
        done.extend(steps)
    assert len(done) == 3
    assert (tmp_path / "last.safetensors").read_bytes() == good


def test_rate_without_bounds_ends_in_one_line(data: Path, tmp_path: Path) -> None:
    recipe = replace(SHORT, epoch=2, phases=(Phase(epochs=4, batch=2, lr=1e30),))
    done: list[Step] = []
    with pytest.raises(UserError, match=r"The loss is not a number at step \d, with patches of"):
        done.extend(train_steps(recipe, [data], tmp_path))
    assert load_checkpoint(tmp_path / "last.safetensors").name == "tiny"


def test_batch_too_large_for_the_memory_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Tiny, "forward", full)
    with pytest.raises(UserError, match="lower batch or patch in the recipe"):
        train(SHORT, [data], tmp_path)


@pytest.mark.parametrize("kept", ["last.safetensors", "state.pt"])
def test_full_disk_leaves_the_earlier_files_whole(
    out: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    steps = train_steps(SHORT, [data], tmp_path)
    next(steps), next(steps), next(steps)
    names = ("best.safetensors", "last.safetensors", "state.pt")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    replaced = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target.name == kept:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=rf"Cannot write .*{kept} \(No space left on device\)"):
        next(steps)
    assert (tmp_path / kept).read_bytes() == before[kept]
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.undo()
    train(SHORT, [data], tmp_path, resume=True)
    assert same(weights_of(out), weights_of(tmp_path))


def test_training_goes_on_from_other_weights(out: Path, data: Path, tmp_path: Path) -> None:
    start = load_checkpoint(out / "best.safetensors")
    still = replace(SHORT, weight_decay=0, phases=(Phase(epochs=1, batch=4, lr=1e-12),))
    given = {key: value.clone() for key, value in start.state_dict().items()}
    train(still, [data], tmp_path, init=start)
    assert same(start.state_dict(), given)
    before, after = load_file(out / "best.safetensors"), load_file(tmp_path / "last.safetensors")
    for name in ("np.weight", "hv.weight", "tp.weight"):
        torch.testing.assert_close(after[name], before[name])


def test_weights_to_start_from_must_be_of_the_same_kind(data: Path, tmp_path: Path) -> None:
    other = create_model("tiny", ["round"])
    with pytest.raises(UserError, match="tiny with types round, and to be trained is tiny with"):
        train(SHORT, [data], tmp_path, init=other)


def test_options_are_those_of_the_weights_to_start_from(
    out: Path, data: Path, tmp_path: Path
) -> None:
    start = load_checkpoint(out / "best.safetensors")
    with pytest.raises(UserError, match="have norm = True, and the recipe wants False"):
        train(replace(SHORT, options={"norm": False}), [data], tmp_path, init=start)
