"""From reviewed regions to a better model."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from napari_nucleus.datasets import Sample
from napari_nucleus.edits import annotations
from napari_nucleus.errors import UserError
from napari_nucleus.models import NucleusModel, create_model
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.results import open_result
from napari_nucleus.results.export import write_geojson
from napari_nucleus.retraining import (
    Retraining,
    interrupted_run,
    loop,
    new_run,
    read_job,
    use_model,
)
from napari_nucleus.retraining.comparison import (
    agreement,
    find_nuclei,
    reference_image,
    take_picture,
)
from napari_nucleus.retraining.data import TrainingData, check, hold_out, read_training_data
from napari_nucleus.retraining.loop import retrain, retrain_steps
from napari_nucleus.retraining.new_types import with_types
from tests.edits.folder import open_session, picture, squares, write_result
from tests.tissue import TYPES, tissue, write_dataset
from tests.training.tiny import Tiny


@pytest.fixture
def job(data: Path, start: Path) -> Retraining:
    return Retraining(data=(data,), model=str(start), epochs=2, lr=2e-2, train="all", device="cpu")


@pytest.mark.slow
def test_model_gets_better(job: Retraining, tmp_path: Path) -> None:
    out = tmp_path / "out"
    updates = list(retrain_steps(job, out))
    first, *steps = updates[: 1 + 2 * 16]
    assert first.step is None
    assert first.scores is not None
    assert [one.step.step for one in steps if one.step] == list(range(1, 33))
    assert [i for i, one in enumerate(steps, 1) if one.scores] == [16, 32]
    assert all((one.scores is None) == (one.picture is None) for one in updates)
    losses = [one.step.losses["np"] for one in steps if one.step]
    assert np.mean(losses[-8:]) < 0.95 * np.mean(losses[:8])
    left = [one.seconds_left for one in steps if one.seconds_left is not None]
    assert len(left) == 32
    assert left[-1] == 0 < left[0]
    assert not any(one.step for one in updates[33:])


def test_made_model_tells_where_it_comes_from(job: Retraining, tmp_path: Path) -> None:
    made = retrain(replace(job, epochs=1), tmp_path / "out")
    assert made.checkpoint == tmp_path / "out" / "best.safetensors"
    assert made.before.keys() >= {"pq", "aji"}
    model, image = load_checkpoint(made.checkpoint), reference_image(0.5)
    seen = [find_nuclei(one, image) for one in (load_checkpoint(job.model), model)]
    assert made.agreement == agreement(*seen) != 1
    assert (model.name, model.types, model.mpp) == ("tiny", TYPES, 0.5)
    assert model.instances == {"np_threshold": 0.45}  # too little is held out to fit others
    assert (model.card["licence"], model.card["credit"]) == ("CC0", "A. Nonymous")
    assert model.card["started from"].startswith(f"{job.model} (")
    assert model.card["data"] == {"made": {"training": 3, "validation": 1}}
    # what could go on is not kept
    left = {file.name for file in (tmp_path / "out").iterdir()}
    assert left == {"best.safetensors", "log.csv", "curves.png", "retraining.json"}
    assert read_job(tmp_path / "out") is None


@pytest.mark.slow
def test_broken_run_goes_on_without_its_data(job: Retraining, tmp_path: Path) -> None:
    whole = retrain(job, tmp_path / "whole")
    steps = retrain_steps(job, tmp_path / "broken")
    for _ in range(20):
        next(steps)
    steps.close()
    for file in job.data[0].rglob("*.*"):
        file.unlink()
    found = read_job(tmp_path / "broken")
    assert found == job
    made = retrain(found, tmp_path / "broken", resume=True)
    assert (made.before, made.after, made.agreement) == (whole.before, whole.after, whole.agreement)
    one, other = (load_file(of.checkpoint) for of in (whole, made))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("train", "learns"), [("decoder", {"np", "hv", "tp"}), ("types", {"tp"})])
def test_only_what_is_to_be_trained_changes(
    job: Retraining, tmp_path: Path, train: Any, learns: set[str]
) -> None:
    made = retrain(replace(job, train=train, epochs=1), tmp_path / "out")
    before, after = load_file(job.model), load_file(made.checkpoint)
    changed = {key.partition(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == learns


def test_starting_model_keeps_its_statistics_and_is_left_alone(
    job: Retraining, start: Path, tmp_path: Path
) -> None:
    content = start.read_bytes()
    made = retrain(replace(job, epochs=1), tmp_path / "out")
    before, after = load_file(start), load_file(made.checkpoint)
    for key in ("encoder.1.running_mean", "encoder.1.running_var"):
        assert torch.equal(before[key], after[key])
    assert not torch.equal(before["encoder.1.weight"], after["encoder.1.weight"])
    assert start.read_bytes() == content


def test_what_is_kept_lies_halfway_to_the_start(job: Retraining, tmp_path: Path) -> None:
    """All but what begins anew, for classes in another order."""
    steps = retrain_steps(replace(job, types=TYPES[::-1]), tmp_path)
    next(one for one in steps if one.step and one.scores)
    steps.close()
    start, kept = load_file(job.model), load_file(tmp_path / "last.safetensors")
    learned = torch.load(tmp_path / "state.pt", weights_only=True)["average"]
    for name in ("encoder.0.weight", "np.weight", "hv.weight", "tp.weight"):
        average = learned[f"module.{name}"]
        before = average if name == "tp.weight" else start[name].float()
        torch.testing.assert_close(kept[name].float(), (before + average) / 2, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(start[name].float(), average, atol=1e-2)


def test_new_classes_begin_alike_whatever_was_drawn_before(job: Retraining, tmp_path: Path) -> None:
    save_checkpoint(Path(job.model), create_model("tiny", ["pale", "round"]))
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        steps = retrain_steps(replace(job, types=TYPES), tmp_path / str(seed))
        losses.append(next(one.step.losses for one in steps if one.step))
        steps.close()
    assert losses[0] == losses[1]


def test_classes_are_not_unlearned_where_none_is_annotated(job: Retraining, tmp_path: Path) -> None:
    for table in job.data[0].rglob("*.csv"):
        table.unlink()
    made = retrain(replace(job, epochs=1), tmp_path / "out")
    before, after = load_file(job.model), load_file(made.checkpoint)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"np.weight", "hv.weight"} <= changed
    assert not {"tp.weight", "tp.bias"} & changed


def test_classes_may_be_others(job: Retraining, tmp_path: Path) -> None:
    model = create_model("tiny", ["pale", "round"])
    save_checkpoint(Path(job.model), model)
    made = retrain(replace(job, types=TYPES, epochs=1), tmp_path / "out")
    assert load_checkpoint(made.checkpoint).types == TYPES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("eunet3plus_small", {}), ("msanet_small", {"window": 128})]
)
def test_networks_of_other_papers_learn(
    name: str, options: dict, data: Path, tmp_path: Path
) -> None:
    """They have other branches, other losses, and other ways to tell types."""
    model = create_model(name, ["dark", "round"], pretrained=False, **options)
    model.mpp = 0.5
    save_checkpoint(tmp_path / "other.safetensors", model)
    job = Retraining((data,), str(tmp_path / "other.safetensors"), TYPES, epochs=1, device="cpu")
    steps = retrain_steps(job, tmp_path / "out")
    first, second = next(steps), next(steps)
    steps.close()
    assert first.scores is not None
    assert "pq" in first.scores
    assert second.step is not None
    assert np.isfinite(list(second.step.losses.values())).all()


def test_classes_alone_need_a_branch_of_their_own(data: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other.safetensors", create_model("eunet3plus_small", TYPES))
    job = Retraining((data,), str(tmp_path / "other.safetensors"), train="types", device="cpu")
    with pytest.raises(UserError, match="with the same weights: train both"):
        retrain(job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def heads(model: NucleusModel) -> torch.Tensor:
    assert isinstance(model, Tiny)
    assert model.tp is not None
    return model.tp.weight.detach()


def test_known_types_keep_their_place_in_the_head() -> None:
    old = create_model("tiny", ["a", "b", "c"])
    new, fresh = with_types(old, ["c", "d", "a"])
    assert fresh == {"tp.weight", "tp.bias"}
    assert torch.equal(heads(new)[[0, 1, 3]], heads(old)[[0, 3, 1]])
    assert not any(torch.equal(heads(new)[2], row) for row in heads(old))
    kept, untouched = new.state_dict(), old.state_dict()
    for key in kept.keys() - fresh:
        assert torch.equal(kept[key], untouched[key])


def test_types_come_and_go() -> None:
    old = create_model("tiny", [])
    new, fresh = with_types(old, ["a"])
    assert fresh == {"tp.weight", "tp.bias"}
    assert len(heads(new)) == 2
    none, fresh = with_types(new, [])
    assert (none.types, fresh) == ((), frozenset())
    same, fresh = with_types(new, ["a"])
    assert same is not new
    assert fresh == frozenset()
    assert torch.equal(heads(same), heads(new))


def sample(name: str, nuclei: int, types: list[int] | None = None) -> Sample:
    """A region with so many nuclei, of which some have a type."""
    labels = squares(8 * 16, 16 * max(-(-nuclei // 8), 1))
    labels[labels > nuclei] = 0
    kinds = np.zeros(int(labels.max()) + 1, np.uint8)
    kinds[1:] = np.resize(types or [UNKNOWN], len(kinds) - 1)
    image = np.zeros((*labels.shape, 3), np.uint8)
    return Sample(name, "made", image, labels, kinds, np.zeros(len(kinds), bool), 0.5)


def test_whole_regions_are_held_out() -> None:
    samples = [sample(str(n), n) for n in (10, 50, 20, 40, 30, 60, 80, 70, 100, 90)]
    material = hold_out(samples)
    assert [one.name for one in material.validation] == ["30", "80"]
    assert len(material.training) == 8
    assert not {one.name for one in material.training} & {"30", "80"}
    assert [one.name for one in hold_out(samples[:2]).validation] == ["10"]


def test_the_only_region_is_parted() -> None:
    whole = sample("a", 80)
    (first,), (last,) = vars(hold_out([whole])).values()
    assert (first.labels.shape, last.labels.shape) == ((128, 128), (128, 32))
    assert np.array_equal(np.hstack([first.labels, last.labels]), whole.labels)
    assert np.array_equal(np.hstack([first.image, last.image]), whole.image)


@pytest.mark.parametrize(
    ("training", "validation", "options", "line"),
    [
        ((30, [1, 2]), (10, [1]), {}, "40 nuclei are annotated: review more regions, until"),
        ((60, [1, 2]), (0, [1]), {}, "No nucleus is left for validation: review another region"),
        ((0, [1, 2]), (60, [1]), {}, "No nucleus is left for training: review another region"),
        (
            (60, [1]),
            (10, [1]),
            {},
            "All nuclei in the training data are dark: review some of other",
        ),
        ((60, [1]), (10, [2]), {"train": "types"}, "All nuclei in the training data are dark"),
        ((60, None), (10, None), {"train": "types"}, "No nucleus has a class"),
        ((60, [1]), (10, [1]), {"known": ["dark"]}, "The training data contain no pale: review"),
        ((60, [1]), (10, [1]), {"types": ["dark"], "train": "types"}, "there are not two"),
    ],
)
def test_what_is_missing_is_said_before_it_starts(
    training: tuple, validation: tuple, options: dict, line: str
) -> None:
    material = TrainingData([sample("a", *training)], [sample("b", *validation)])
    with pytest.raises(UserError, match=line):
        check(material, **{"types": TYPES, "known": TYPES, "train": "decoder", **options})


@pytest.mark.parametrize(
    ("types", "kinds"), [(TYPES, None), ((), None), (("dark",), [1]), (TYPES, [1, 2])]
)
def test_what_can_be_learned_passes(types: tuple[str, ...], kinds: list[int] | None) -> None:
    """Outlines alone, where no nucleus has a class, and a model that knows one class only."""
    material = TrainingData([sample("a", 60, kinds)], [sample("b", 10, kinds)])
    check(material, types, TYPES, "decoder")


def test_nothing_is_begun_where_something_is_missing(job: Retraining, tmp_path: Path) -> None:
    few = write_dataset(tmp_path / "few", {"a": tissue(80, 80, 1, 2e-3)})
    with pytest.raises(UserError, match="nuclei are annotated"):
        retrain(replace(job, data=(few,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result with 150 nuclei, made from a layer without a file, nothing reviewed."""
    return write_result(tmp_path / "slide.nucleus", squares(160, 240)).path


def test_data_of_all_kinds_go_together(result: Path, data: Path, tmp_path: Path) -> None:
    with open_session(result) as session:
        session.apply(annotations.mark_reviewed, (0, 0, 240, 80))
        write_geojson(open_result(result), tmp_path / "export" / "b.geojson")
    pixels = picture(160, 240)
    Image.fromarray(pixels.read(0, 0, 240, 160)).save(tmp_path / "export" / "b.png")
    Image.new("L", (8, 8)).save(tmp_path / "export" / "other.png")
    found = read_training_data(
        (result, data, tmp_path / "export" / "b.geojson"), TYPES, 0.5, {result: pixels}
    )
    named = {(one.dataset, one.name) for one in (*found.training, *found.validation)}
    assert named == {
        ("slide.nucleus", "slide_x0_y0"),
        *(("made", name) for name in "abcd"),
        ("b.geojson", "b"),
    }


def test_sets_of_one_name_are_told_apart(data: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "deeper" / "made", {"a": tissue(80, 80, 7, 2e-3)})
    found = read_training_data((data, other), TYPES, 0.25)
    named = {(one.dataset, one.name) for one in (*found.training, *found.validation)}
    assert named == {*(("made", name) for name in "abcd"), ("made (2)", "a")}


def test_result_without_reviewed_region_is_told(result: Path) -> None:
    with pytest.raises(UserError, match=r"slide\.nucleus has no reviewed region: mark one"):
        read_training_data((result,), TYPES, 0.5)
    with pytest.raises(UserError, match="no training data: add results"):
        read_training_data((), TYPES, 0.5)


def test_material_is_kept_to_the_last_pixel(data: Path, tmp_path: Path) -> None:
    found = read_training_data((data,), TYPES, 0.4)
    ignored = np.zeros(found.training[0].labels.shape, bool)
    ignored[3, 4] = True
    found.training[0] = replace(found.training[0], ignored=ignored)
    found.save(tmp_path / "samples.npz")
    again = TrainingData.load(tmp_path / "samples.npz")
    for part in ("training", "validation"):
        for one, other in zip(getattr(found, part), getattr(again, part), strict=True):
            for key, value in vars(one).items():
                np.testing.assert_array_equal(value, getattr(other, key))
    whole = (tmp_path / "samples.npz").read_bytes()
    half = len(whole) // 2
    for content in (
        b"",
        b"half of it",
        whole[:half],
        whole[:half] + bytes(50) + whole[half + 50 :],
    ):
        (tmp_path / "samples.npz").write_bytes(content)
        with pytest.raises(UserError, match="the run cannot be resumed"):
            TrainingData.load(tmp_path / "samples.npz")


def test_material_is_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "run by the file"),)

    np.savez(tmp_path / "samples.npz", about=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match="the run cannot be resumed"):
        TrainingData.load(tmp_path / "samples.npz")
    assert [file.name for file in tmp_path.iterdir() if file.name != "home"] == ["samples.npz"]


def test_agreement_counts_nuclei_seen_alike() -> None:
    labels = squares(64, 64)
    assert agreement(labels, labels) == pytest.approx(1)
    assert agreement(labels, np.where(labels > 8, labels, 0)) == pytest.approx(8 / 12)


def test_picture_shows_the_middle_of_the_richest_region() -> None:
    poor, rich = sample("a", 40), sample("b", 400)
    model = create_model("tiny", TYPES).eval()
    shown = take_picture(model, [poor, rich])
    assert rich.labels.shape == (128, 800)
    assert shown.image.shape == (128, 256, 3)
    assert np.array_equal(shown.true, rich.labels[:, 272:528])
    assert shown.predicted.shape == (128, 256)


def left_run(job: Retraining) -> Path:
    """Return a run that was broken off."""
    run = new_run()
    steps = retrain_steps(job, run)
    next(steps)
    next(steps)
    steps.close()
    return run


def test_latest_broken_run_is_found_and_given_up_for_a_new_one(job: Retraining) -> None:
    assert interrupted_run() is None
    first = left_run(job)
    assert interrupted_run() == first
    second = new_run()
    assert not second.exists()
    assert interrupted_run() is None
    assert {file.name for file in first.iterdir()} == {"log.csv", "retraining.json"}


def test_run_is_one_windows_own(job: Retraining) -> None:
    run = new_run()
    steps = retrain_steps(job, run)
    next(steps)
    next(steps)
    (run / "state.pt").touch()
    assert interrupted_run() is None  # it is not broken off
    with pytest.raises(UserError, match="is being trained in by another window"):
        retrain(job, run, resume=True)
    steps.close()
    assert interrupted_run() == run


def test_model_gets_a_name(start: Path) -> None:
    path = use_model(start, " my model ")
    assert path.read_bytes() == start.read_bytes()
    assert load_checkpoint("my model").name == "tiny"
    with pytest.raises(UserError, match="There is a model 'my model' already"):
        use_model(start, "my model")
    for name in ("", "a/b", "../a", ".hidden"):
        with pytest.raises(UserError, match="Name the model with letters"):
            use_model(start, name)


@pytest.mark.slow
@pytest.mark.parametrize(("better", "kept"), [(True, 0.35), (False, 0.45)])
def test_fitted_parameters_are_kept_where_the_held_out_part_is_no_worse_for_them(
    job: Retraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: bool, kept: float
) -> None:
    fitted_on: list[str] = []

    def fit(model: NucleusModel, samples: list[Sample]) -> Iterator[dict]:
        fitted_on.extend(one.name for one in samples)
        yield {"np_threshold": 0.35}

    def score(model: NucleusModel, samples: list[Sample]) -> dict:
        quality = 0.9 if better and model.instances["np_threshold"] == 0.35 else -0.1
        return {"score": 0.5, "datasets": {"made": {"pq": quality, "aji": 0.5}}}

    monkeypatch.setattr(loop, "_FIT", 5)
    monkeypatch.setattr(loop, "fit_parameters", fit)
    monkeypatch.setattr(loop, "validate", score)
    made = retrain(replace(job, epochs=1), tmp_path / "out")
    assert load_checkpoint(made.checkpoint).instances == {"np_threshold": kept}
    assert (made.after["pq"] == 0.9) == better
    held_out = {one.name for one in read_training_data(job.data, TYPES, 0.5).validation}
    assert len(fitted_on) == 3
    assert not held_out & set(fitted_on)


def test_only_the_head_of_a_histonext_depends_on_its_types() -> None:
    old = create_model("histonext_atto", ["a", "b"], pretrained=False)
    _, fresh = with_types(old, ["b", "c", "d"])
    assert fresh == {"tp.head.weight", "tp.head.bias"}
