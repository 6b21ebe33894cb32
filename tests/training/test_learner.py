"""What a phase freezes stays as it is, and what it does not, learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from napari_nucleus.errors import UserError
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.feature_cache import FeatureCache
from napari_nucleus.training import learner, train, train_steps
from napari_nucleus.training.distributed import start_fabric
from napari_nucleus.training.learner import Learner
from napari_nucleus.training.recipe import Phase
from tests.training.tiny import SHORT, Tiny, log_of, same, weights_of

PARTS = {"all": {"encoder", "np", "hv", "tp"}, "decoder": {"np", "hv", "tp"}, "types": {"tp"}}


def begin(model: Tiny, phase: Phase) -> Learner:
    everything = frozenset(name for name, _ in model.named_parameters())
    return Learner(start_fabric("cpu"), model, replace(SHORT, weight_decay=0), phase, everything)


def tiny(norm: bool = True) -> Tiny:
    torch.manual_seed(0)
    model = Tiny(("dark", "pale"), norm=norm)
    model.name = "tiny"
    return model


def batch(size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    nuclei = torch.randint(0, 3, (size, 16, 16), generator=generator)
    everywhere = torch.ones(size, 16, 16, dtype=torch.bool)
    return Batch(
        images=torch.rand(size, 3, 16, 16, generator=generator),
        np=nuclei.clamp(max=1),
        hv=torch.rand(size, 2, 16, 16, generator=generator),
        tp=nuclei,
        seen=everywhere,
        shaped=everywhere,
        typed=everywhere,
        labels=nuclei,
        names=("a",) * size,
    )


def part_of(batch: Batch, which: slice) -> Batch:
    return Batch(**{key: value[which] for key, value in vars(batch).items()})


@pytest.mark.parametrize("part", PARTS)
def test_only_what_is_named_learns(part: str) -> None:
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    of = begin(model, Phase(train=part))  # type: ignore[arg-type]
    gradients: set[str] = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, name=name: gradients.add(name.partition(".")[0]))
    losses = of.step([batch()], rate=1e-2)
    assert set(losses) == {"np", "hv", "tp"}
    assert gradients == PARTS[part]
    learning = {id(p) for group in of.optimizer.param_groups for p in group["params"]}
    for name, child in model.named_children():
        learns = name in PARTS[part]
        assert child.training == learns
        assert all((id(p) in learning) == learns for p in child.parameters())
        assert all(p.requires_grad == learns for p in child.parameters())
    changed = {
        key.partition(".")[0]
        for key, now in model.state_dict().items()
        if (now != before[key]).any()
    }
    assert changed == PARTS[part]  # statistics of a frozen encoder's batches included


def test_frozen_parts_stay_frozen_after_a_validation() -> None:
    model = tiny()
    of = begin(model, Phase(train="decoder"))
    of.step([batch()], rate=1e-2)
    model.eval()
    of.step([batch()], rate=1e-2)
    assert model.np.training
    assert not model.encoder.training


def test_what_never_learns_does_not_learn() -> None:
    model = tiny()
    teacher = nn.Parameter(torch.ones(3), requires_grad=False)
    model.teacher = teacher
    learnable = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
    Learner(start_fabric("cpu"), model, SHORT, Phase(train="types"), learnable)
    Learner(start_fabric("cpu"), model, SHORT, Phase(), learnable)
    assert not teacher.requires_grad
    assert all(parameter.requires_grad for parameter in model.encoder.parameters())


def test_accumulated_batches_are_one_large_batch() -> None:
    """Without batch statistics, and with losses that are means over pixels."""
    whole, parts = tiny(norm=False), tiny(norm=False)
    data = replace(SHORT, np_loss="asymmetric", tp_loss="focal", weight_decay=0)
    learnable = frozenset(name for name, _ in whole.named_parameters())
    fabric = start_fabric("cpu")
    data_batch = batch()
    data_batch.np[:] = torch.arange(16) % 2  # as many nuclei in each half
    one = Learner(fabric, whole, data, Phase(batch=4), learnable)
    two = Learner(fabric, parts, data, Phase(batch=2, accumulate=2), learnable)
    first = one.step([data_batch], 1e-2)
    second = two.step([part_of(data_batch, slice(2)), part_of(data_batch, slice(2, 4))], 1e-2)
    assert second == pytest.approx(first, rel=1e-2)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[key], value, atol=1e-3, rtol=0)


def gradients_of(of: Learner, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Take a step, and return the gradients as they were before they were shortened."""
    found: dict[str, torch.Tensor] = {}
    for name, parameter in of.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: found.update({name: p.grad.clone()})
        )
    of.step(batches, 1e-2)
    return found


def test_gradients_of_accumulated_batches_are_averaged() -> None:
    """Adam would take the same step with twice the gradient."""
    recipe = replace(SHORT, np_loss="asymmetric", tp_loss="focal")
    names = frozenset(name for name, _ in tiny(norm=False).named_parameters())
    whole = batch()
    whole.np[:] = torch.arange(16) % 2  # as many nuclei in each half
    halves = [part_of(whole, slice(2)), part_of(whole, slice(2, 4))]
    one, two = (
        gradients_of(Learner(start_fabric("cpu"), tiny(norm=False), recipe, phase, names), batches)
        for phase, batches in ((Phase(batch=4), [whole]), (Phase(batch=2, accumulate=2), halves))
    )
    assert one.keys() == two.keys() == names
    for name, gradient in one.items():
        assert (two[name] - gradient).norm() < 0.1 * gradient.norm(), name


def test_long_gradients_are_shortened() -> None:
    model = tiny()
    of = begin(model, Phase())
    model.hv.weight.register_hook(lambda gradient: gradient * 1e4)
    lengths: list[float] = []

    def measure(*_: object) -> None:
        parts = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        lengths.append(torch.stack(parts).norm().item())

    of.optimizer.register_step_pre_hook(measure)
    of.step([batch()], 1e-2)
    assert lengths == pytest.approx([1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_recipe_says_how_weights_are_optimized(
    name: Any, kind: type[torch.optim.Optimizer]
) -> None:
    recipe = replace(SHORT, optimizer=name, weight_decay=0.125)
    model = tiny()
    names = frozenset(name for name, _ in model.named_parameters())
    of = Learner(start_fabric("cpu"), model, recipe, Phase(), names)
    assert of.optimizer.__class__ is kind
    assert [group["weight_decay"] for group in of.optimizer.param_groups] == [0.125]


def test_gradient_that_is_no_number_changes_nothing() -> None:
    model = tiny()
    of = begin(model, Phase())
    model.hv.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = {key: value.clone() for key, value in model.named_parameters()}
    with pytest.raises(learner.Diverged) as told:
        of.step([batch()], rate=1e-2)
    assert told.value.args == ("a",)
    assert same(before, dict(model.named_parameters()))


def test_nothing_to_learn_is_told(data: Path, tmp_path: Path) -> None:
    recipe = replace(SHORT, types=(), phases=(Phase(train="types"),))
    with pytest.raises(UserError, match="Nothing of this tiny learns with train = 'types'"):
        train(recipe, [data], tmp_path)


def test_every_phase_has_an_optimizer_of_its_own(data: Path, tmp_path: Path) -> None:
    phases = (Phase(epochs=1, batch=2, train="decoder", lr=1e-3), Phase(epochs=1, batch=1))
    train(replace(SHORT, phases=phases), [data], tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)["optimizer"]
    assert {int(of["step"]) for of in state["state"].values()} == {4}
    assert [row["epoch"] for row in log_of(tmp_path)] == list("112222")


def test_phase_ends_when_it_no_longer_helps(data: Path, tmp_path: Path) -> None:
    """Nothing changes at this rate, so the first score stays the highest."""
    still = Phase(epochs=50, batch=2, train="types", lr=1e-30)
    recipe = replace(SHORT, patience=2, weight_decay=0, phases=(still, replace(still, batch=4)))
    steps = list(train_steps(recipe, [data], tmp_path))
    assert [step.epoch for step in steps] == [1, 1, 2, 2, 3, 3, 4, 5]
    assert [bool(step.scores) for step in steps] == [False, True] * 3 + [True] * 2
    assert steps[0].total == 50 * 2 + 50
    assert steps[5].total == 6 + 50
    assert steps[-1].total == 8


def test_kept_features_change_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = Phase(epochs=4, batch=2, train="decoder", views=2)
    recipe = replace(SHORT, augment="any_lab", phases=(phase,))
    encoded: list[int] = []
    encode = Tiny.encode

    def counted(self: Tiny, images: torch.Tensor) -> list[torch.Tensor]:
        encoded.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Tiny, "encode", counted)
    monkeypatch.setattr(learner, "FeatureCache", lambda: FeatureCache(tmp_path / "cache"))
    train(recipe, [data], tmp_path / "kept")
    in_training = [size for size in encoded if size == 2]
    assert len(in_training) == 2 * 2  # two views of an epoch of two steps, each once
    monkeypatch.setattr(Learner, "_features", lambda self, images: self.model.encode(images))
    train(recipe, [data], tmp_path / "anew")
    assert same(weights_of(tmp_path / "kept"), weights_of(tmp_path / "anew"))


def test_what_begins_anew_learns_faster() -> None:
    model = tiny(norm=False)
    names = frozenset(name for name, _ in model.named_parameters())
    fresh = frozenset({"tp.weight", "tp.bias"})
    of = Learner(start_fabric("cpu"), model, SHORT, Phase(), names, fresh)
    of.step([batch()], rate=1e-3)
    rates = {id(p): group["lr"] for group in of.optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-2 if name.startswith("tp.") else 1e-3)


def test_share_of_the_start_is_in_what_is_kept(data: Path, tmp_path: Path) -> None:
    """Also when the run goes on; what learns is not touched."""
    model = tiny()
    recipe = replace(SHORT, ema=0, start_share=0.75)
    plain, mixed = tmp_path / "plain", tmp_path / "mixed"
    train(replace(recipe, start_share=0), [data], plain, init=model)
    steps = train_steps(recipe, [data], mixed, init=model)
    next(steps)
    steps.close()
    train(recipe, [data], mixed, init=model, resume=True)
    assert same(weights_of(plain), weights_of(mixed))
    learned, kept = load_file(plain / "last.safetensors"), load_file(mixed / "last.safetensors")
    for name, start in model.named_parameters():
        expected = 0.75 * start.detach() + 0.25 * learned[name]
        torch.testing.assert_close(kept[name], expected.half(), atol=1e-3, rtol=1e-3)


def test_frozen_normalisation_keeps_its_statistics(data: Path) -> None:
    for frozen in (False, True):
        model = tiny()
        before = {key: value.clone() for key, value in model.named_buffers()}
        names = frozenset(name for name, _ in model.named_parameters())
        recipe = replace(SHORT, freeze_norm=frozen)
        Learner(start_fabric("cpu"), model, recipe, Phase(), names).step([batch()], 1e-2)
        assert same(before, dict(model.named_buffers())) == frozen
        assert model.encoder[1].weight.requires_grad
