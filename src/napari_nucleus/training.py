"""The training loop: patches in, checkpoints out, a generator that a window can show and stop."""

import csv
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_nucleus import losses
from napari_nucleus.augment import Batch, PatchSampler, appearance
from napari_nucleus.checkpoints import save_checkpoint
from napari_nucleus.datasets import Sample, is_held_out, load_folder
from napari_nucleus.devices import autocast_dtype, pick_device
from napari_nucleus.errors import UserError
from napari_nucleus.models import NucleusModel, create_model
from napari_nucleus.recipe import Recipe
from napari_nucleus.validation import validate

NP_LOSSES = {"ce_dice": losses.ce_dice, "asymmetric": losses.asymmetric}
TP_LOSSES = {"ce_dice": losses.ce_dice, "focal": losses.focal}


@dataclass(frozen=True)
class Step:
    """What a training step tells.

    Attributes
    ----------
    step, total
        Steps done, and to do in all.
    losses
        Loss of each branch.
    scores
        Validation scores, where this step ended with a validation.
    """

    step: int
    total: int
    losses: dict[str, float]
    scores: dict[str, Any] | None


def train_steps(
    recipe: Recipe,
    data: list[Path],
    out: Path,
    init: NucleusModel | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Iterator[Step]:
    """Train a model, step by step.

    Parameters
    ----------
    recipe
        What to train and how.
    data
        Dataset folders.
    out
        Folder for ``best.safetensors`` (highest validation score), ``last.safetensors``,
        ``state.pt`` (to resume from) and ``log.csv``.
    init
        Model to start from, of the recipe's name and types.
    resume
        Go on from ``state.pt``; the weights after any step are those of an unbroken run.
    device
        ``"cpu"``, ``"cuda"``, …; None takes the GPU where there is one.

    Yields
    ------
    Step
        After every optimizer step. Closing the generator keeps all that was saved.

    Raises
    ------
    UserError
        If the data cannot be trained on, or the loss stops being a number.
    """
    place = pick_device(device)
    training, validation = split(recipe, data)
    torch.manual_seed(recipe.seed)
    model = init or create_model(recipe.model, recipe.types, **recipe.options)
    model.mpp = recipe.mpp
    model.to(place).to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    shares = {path.name: recipe.folder(path).share for path in data}
    sampler = PatchSampler(training, shares, recipe.patch, recipe.scale)
    restain = appearance().to(place)
    out.mkdir(parents=True, exist_ok=True)
    state_file = out / "state.pt"
    first, best = 0, -math.inf
    if resume:
        first, best = _load_state(state_file, model, average, optimizer)
    for step in range(first, recipe.steps):
        # a step's randomness depends on its number alone, so that a resumed run is the same run
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        rng = np.random.default_rng((recipe.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * _schedule(step, recipe)
        batch = _to(sampler.draw(recipe.batch, rng), place)
        batch.images = restain(batch.images)
        model.train()
        with torch.autocast(place.type, dtype=autocast_dtype(place)):
            logits = model(batch.images.contiguous(memory_format=torch.channels_last))
        parts = branch_losses(logits, batch, recipe)
        total = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(total):
            raise UserError(
                f"The loss is not a number at step {step}: lower the learning rate. "
                f"The last good weights are in {out / 'last.safetensors'}."
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        scores = None
        if (step + 1) % recipe.validate_every == 0 or step + 1 == recipe.steps:
            kept = cast(NucleusModel, average.module).eval()
            scores = validate(kept, validation)
            kept.card = {"recipe": asdict(recipe), "step": step + 1, "scores": scores}
            save_checkpoint(out / "last.safetensors", kept)
            if scores["score"] > best:
                best = scores["score"]
                save_checkpoint(out / "best.safetensors", kept)
            _save_state(state_file, step + 1, best, model, average, optimizer)
        values = {key: float(value.detach()) for key, value in parts.items()}
        _log(out / "log.csv", step + 1, values, scores)
        yield Step(step + 1, recipe.steps, values, scores)


def train(*args: Any, **kwargs: Any) -> Path:
    """Train a model to the end; takes what `train_steps` takes.

    Returns
    -------
    Path
        The checkpoint with the highest validation score.
    """
    out = Path(kwargs["out"] if "out" in kwargs else args[2])
    for _ in train_steps(*args, **kwargs):
        pass
    return out / "best.safetensors"


def split(recipe: Recipe, data: list[Path]) -> tuple[list[Sample], list[Sample]]:
    """Read dataset folders and part their images into training and validation."""
    training: list[Sample] = []
    validation: list[Sample] = []
    for path in data:
        folder = recipe.folder(path)
        samples = load_folder(folder, recipe.types, recipe.mpp)
        held = [is_held_out(folder, s.name) for s in samples]
        if not folder.holdout:
            every = max(round(1 / recipe.holdout), 2) if recipe.holdout else len(samples) + 1
            held = [i % every == every - 1 for i in range(len(samples))]
        for sample, keep in zip(samples, held, strict=True):
            (validation if keep else training).append(sample)
    if not any(s.labels.any() for s in training):
        raise UserError("There is no annotated nucleus to train on: give other --data folders.")
    if not validation:
        raise UserError("No image is left for validation: give more images or a holdout.")
    return training, validation


def branch_losses(logits: dict[str, Tensor], batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """Return the loss of every branch that the model has."""
    parts = {"np": NP_LOSSES[recipe.np_loss](logits["np"], batch.np, batch.seen)}
    if "hv" in logits:
        focus = batch.shaped & (batch.np == 1)
        hv = losses.mse(logits["hv"], batch.hv, batch.shaped)
        parts["hv"] = hv + losses.msge(logits["hv"], batch.hv, focus)
    if "tp" in logits:
        parts["tp"] = TP_LOSSES[recipe.tp_loss](logits["tp"], batch.tp, batch.typed)
    return parts


def _schedule(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * done))


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(**{key: value.to(device) for key, value in vars(batch).items()})


def _save_state(
    file: Path,
    step: int,
    best: float,
    model: NucleusModel,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
) -> None:
    state = {
        "step": step,
        "best": best,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = file.with_name(file.name + ".part")
    torch.save(state, part)
    part.replace(file)


def _load_state(
    file: Path, model: NucleusModel, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    if not file.is_file():
        raise UserError(f"{file} is missing: there is no run to resume; leave out --resume.")
    state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["best"]


def _log(file: Path, step: int, values: dict[str, float], scores: dict[str, Any] | None) -> None:
    new = not file.exists()
    with file.open("a", newline="") as handle:
        writer = csv.writer(handle)
        if new:
            writer.writerow(["step", "seconds", *values, "scores"])
        row = [round(value, 4) for value in values.values()]
        writer.writerow([step, round(time.time(), 1), *row, json.dumps(scores) if scores else ""])
