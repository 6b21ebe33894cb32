import csv
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_nucleus.augment import Batch
from napari_nucleus.checkpoints import load_checkpoint, read_card
from napari_nucleus.datasets import UNKNOWN, Source
from napari_nucleus.errors import UserError
from napari_nucleus.fitting import PUBLISHED
from napari_nucleus.models import create_model
from napari_nucleus.models.histonext import HistoNeXt
from napari_nucleus.recipe import Phase, Recipe
from napari_nucleus.training import Step, split, train, train_steps
from napari_nucleus.training.objective import branch_losses
from napari_nucleus.training.split import _spread
from tests.tissue import tissue, write_dataset

SHORT = Recipe(
    options={"pretrained": False, "window": 64},
    patch=32,
    warmup=2,
    ema=0.5,
    epoch=4,
    validate_every=1,
    phases=(Phase(epochs=2, batch=2),),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = {name: tissue(96, 96, seed, 3e-3) for seed, name in enumerate("abcde")}
    return write_dataset(tmp_path_factory.mktemp("data") / "made", images)


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    assert train(SHORT, [data], out) == out / "best.safetensors"
    return out


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_few_steps_teach_blobs_and_their_types(data: Path, tmp_path: Path) -> None:
    recipe = replace(
        SHORT, epoch=72, patch=64, warmup=8, ema=0.9, phases=(Phase(epochs=2, batch=4, lr=2e-3),)
    )
    steps = list(train_steps(recipe, [data], tmp_path))
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


def test_one_seed_gives_one_model(unbroken: Path, data: Path, tmp_path: Path) -> None:
    train(SHORT, [data], tmp_path / "again")
    train(replace(SHORT, seed=1, phases=(Phase(epochs=1, batch=4),)), [data], tmp_path / "other")
    last = unbroken / "last.safetensors"
    assert same_weights(last, tmp_path / "again" / "last.safetensors")
    assert not same_weights(last, tmp_path / "other" / "last.safetensors")


def test_resumed_run_is_the_unbroken_run(unbroken: Path, data: Path, tmp_path: Path) -> None:
    steps = train_steps(SHORT, [data], tmp_path)
    for _ in range(3):
        next(steps)
    steps.close()
    train(SHORT, [data], tmp_path, resume=True)
    for name in ("last", "best"):
        assert same_weights(unbroken / f"{name}.safetensors", tmp_path / f"{name}.safetensors")
    assert [row["step"] for row in log_of(tmp_path)] == ["1", "2", "3", "4"]


def test_run_leaves_weights_log_and_card(unbroken: Path) -> None:
    files = {"best.safetensors", "last.safetensors", "log.csv", "state.pt", "curves.png"}
    assert {file.name for file in unbroken.iterdir()} == files
    rows = log_of(unbroken)
    assert list(rows[0]) == [
        *("step", "epoch", "time", "seconds", "network_seconds"),
        *("np", "hv", "tp", "scores"),
    ]
    assert [bool(row["scores"]) for row in rows] == [False, True, False, True]
    model = load_checkpoint(unbroken / "best.safetensors")
    assert (model.name, model.types, model.mpp) == ("histonext_atto", ("dark", "pale"), 0.25)
    assert set(model.instances) == set(PUBLISHED)
    assert model.card["recipe"]["phases"][0]["epochs"] == 2
    assert model.card["version"] == version("napari-nucleus")
    assert model.card["data"] == {"made": {"training": 4, "validation": 1}}
    logged = [json.loads(row["scores"])["score"] for row in rows if row["scores"]]
    assert model.card["step"] == 2 * (1 + int(np.argmax(logged)))


def test_run_is_not_overwritten(unbroken: Path, data: Path, tmp_path: Path) -> None:
    before = (unbroken / "last.safetensors").read_bytes()
    with pytest.raises(UserError, match="holds a run: add --resume"):
        train(SHORT, [data], unbroken)
    assert (unbroken / "last.safetensors").read_bytes() == before
    with pytest.raises(UserError, match="holds no run to resume"):
        train(SHORT, [data], tmp_path, resume=True)


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\3\4 half of it"])
def test_damaged_state_is_told(data: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"state\.pt is damaged"):
        train(SHORT, [data], tmp_path, resume=True)


def test_state_of_another_model_is_told(unbroken: Path, data: Path, tmp_path: Path) -> None:
    for name in ("state.pt", "log.csv"):
        (tmp_path / name).write_bytes((unbroken / name).read_bytes())
    with pytest.raises(UserError, match="does not fit histonext_femto"):
        train(replace(SHORT, model="histonext_femto"), [data], tmp_path, resume=True)


def test_loss_that_is_no_number_stops_the_run(data: Path, tmp_path: Path) -> None:
    steps = train_steps(
        replace(SHORT, epoch=2, phases=(Phase(epochs=4, batch=2, lr=1e30),)), [data], tmp_path
    )
    done: list[Step] = []
    with pytest.raises(
        UserError, match=r"The loss is not a number at step \d, with patches of made/\w"
    ):
        done.extend(steps)
    assert load_checkpoint(tmp_path / "last.safetensors").name == "histonext_atto"


def test_batch_too_large_for_the_memory_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(HistoNeXt, "forward", full)
    with pytest.raises(UserError, match="lower batch or patch in the recipe"):
        train(SHORT, [data], tmp_path)


def test_training_goes_on_from_other_weights(unbroken: Path, data: Path, tmp_path: Path) -> None:
    start = load_checkpoint(unbroken / "best.safetensors")
    still = replace(SHORT, weight_decay=0, phases=(Phase(epochs=1, batch=4, lr=1e-12),))
    train(still, [data], tmp_path, init=start)
    before, after = (
        load_file(unbroken / "best.safetensors"),
        load_file(tmp_path / "last.safetensors"),
    )
    names = [name for name in before if name.endswith("head.weight")]
    assert len(names) == 3
    for name in names:
        torch.testing.assert_close(after[name], before[name])


def test_weights_to_start_from_must_be_of_the_same_kind(data: Path, tmp_path: Path) -> None:
    other = create_model("histonext_atto", ["round"], pretrained=False)
    with pytest.raises(UserError, match="histonext_atto with types round, and to be trained"):
        train(SHORT, [data], tmp_path, init=other)


def test_every_fifth_image_is_kept_for_validation(data: Path) -> None:
    training, validation = split(SHORT, [Source(data)])
    assert [sample.name for sample in training] == list("abcd")
    assert [sample.name for sample in validation] == ["e"]


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(1, 0.2, 0), (2, 0.2, 1), (4, 0.2, 1), (13, 0.2, 3), (10, 0.5, 5), (10, 0, 0)],
)
def test_some_images_are_kept_for_validation_and_some_are_not(
    count: int, share: float, kept: int
) -> None:
    chosen = _spread(count, share)
    assert len(chosen) == kept < count
    assert chosen <= set(range(count))


def test_recipe_says_which_images_are_kept(data: Path) -> None:
    training, validation = split(SHORT, [Source(data, holdout=("[bd]",))])
    assert [sample.name for sample in training] == list("ace")
    assert [sample.name for sample in validation] == list("bd")


@pytest.mark.parametrize(
    ("holdout", "message"),
    [(("*",), "no annotated nucleus to train on"), (("none",), "is left for validation")],
)
def test_empty_parts_are_told(data: Path, holdout: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(SHORT, [Source(data, holdout=holdout)])


def test_what_is_unknown_teaches_nothing() -> None:
    """Pixels outside the image, shapes that are doubtful, types that nobody gave."""
    logits = {
        "np": torch.randn(1, 2, 8, 8, requires_grad=True),
        "hv": torch.randn(1, 2, 8, 8, requires_grad=True),
        "tp": torch.randn(1, 3, 8, 8, requires_grad=True),
    }
    seen, shaped, typed = (torch.ones(1, 8, 8, dtype=torch.bool) for _ in range(3))
    seen[..., :2], shaped[..., :4], typed[..., :6] = False, False, False
    nuclei = torch.ones(1, 8, 8, dtype=torch.long)
    batch = Batch(
        torch.zeros(1, 3, 8, 8),
        nuclei,
        torch.zeros(1, 2, 8, 8),
        nuclei,
        seen,
        shaped,
        typed,
        nuclei,
        ("a",),
    )
    for np_loss in ("ce_dice", "asymmetric"):
        for tp_loss in ("ce_dice", "focal"):
            recipe = Recipe(np_loss=np_loss, tp_loss=tp_loss)
            parts = branch_losses(logits, batch, recipe)
            torch.stack(list(parts.values())).sum().backward()
            for key, first in (("np", 2), ("tp", 6)):
                gradient = logits[key].grad
                assert gradient is not None
                assert not gradient[..., :first].any()
                assert gradient[..., first:].all()
    # a gradient of the distance maps reaches two pixels further
    assert logits["hv"].grad is not None
    assert not logits["hv"].grad[..., :2].any()
    assert UNKNOWN not in batch.tp
