"""The training loop: patches in, checkpoints out, a generator that a window can show and stop."""

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_nucleus import losses
from napari_nucleus.augment import Batch, PatchSampler, create_augmentation
from napari_nucleus.checkpoints import load_checkpoint, load_weights, save_checkpoint
from napari_nucleus.datasets import Sample, Source, find_types, is_held_out, load_source
from napari_nucleus.devices import autocast_dtype, pick_device
from napari_nucleus.errors import UserError
from napari_nucleus.fitting import fit_instances
from napari_nucleus.models import NucleusModel, create_model
from napari_nucleus.recipe import Recipe
from napari_nucleus.runs import RunFolder
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


def train(
    recipe: Recipe,
    data: Sequence[str | Path],
    out: str | Path,
    init: NucleusModel | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Path:
    """Train a model to the end.

    Parameters and errors are those of `train_steps`.

    Returns
    -------
    Path
        The checkpoint with the highest validation score.
    """
    steps = train_steps(recipe, data, out, init, resume, device)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def train_steps(
    recipe: Recipe,
    data: Sequence[str | Path],
    out: str | Path,
    init: NucleusModel | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Generator[Step, None, Path]:
    """Train a model, step by step, and fit the constants of its post-processing.

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

    Returns
    -------
    Path
        As the generator's value, the checkpoint with the highest validation score.

    Raises
    ------
    UserError
        If the data cannot be trained on, `out` holds another run, or the loss stops being a number.
    """
    place = pick_device(device)
    run = RunFolder(Path(out), resume)
    folders = [recipe.source(Path(path)) for path in data]
    if recipe.types is None:
        recipe = replace(recipe, types=find_types(folders))
    training, validation = split(recipe, folders)
    about = {
        **recipe.card,
        "version": version("napari-nucleus"),
        "data": _counts(training, validation),
        "recipe": asdict(recipe),
    }
    torch.manual_seed(recipe.seed)
    model = _start(recipe, init).to(place).to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    kept = cast(NucleusModel, average.module)
    (phase,) = recipe.phases
    optimizer = torch.optim.AdamW(model.parameters(), phase.lr, weight_decay=recipe.weight_decay)
    per_epoch = max(recipe.epoch // phase.batch, 1)
    total = phase.epochs * per_epoch
    shares = {folder.path.name: folder.share for folder in folders}
    augment = create_augmentation(recipe.augment, recipe.patch).to(place)
    types = recipe.types or ()
    weights = {1 + types.index(name): w for name, w in recipe.type_weights.items()}
    sampler = PatchSampler(
        training,
        shares,
        recipe.patch,
        recipe.sampling,
        weights,
        margin=augment.margin,
        jitter=augment.jitter,
    )
    first, best = 0, -math.inf
    if resume:
        state = run.load_state()
        first, best = state["step"], state["best"]
        load_weights(model, state["model"], run.state.name)
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    for step in range(first, total):
        # a step's randomness depends on its number alone, so that a resumed run is the same run
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = phase.lr * _schedule(step, total, recipe.warmup)
        batch = augment(sampler.draw(range(phase.batch), step, recipe.seed).to(place))
        try:
            parts = _learn(model, optimizer, batch, recipe)
        except torch.OutOfMemoryError as error:
            raise UserError(
                "The GPU's memory does not hold a batch: lower batch or patch in the recipe."
            ) from error
        if parts is None:
            raise UserError(
                f"The loss is not a number at step {step + 1}: lower the learning rate, and start "
                f"again in another folder. What was saved until then stays in {out}."
            )
        average.update_parameters(model)
        scores = None
        if (step + 1) % (recipe.validate_every * per_epoch) == 0 or step + 1 == total:
            scores = validate(kept.eval(), validation)
            kept.card = {**about, "step": step + 1, "scores": scores}
            save_checkpoint(run.last, kept)
            if scores["score"] > best:
                best = scores["score"]
                save_checkpoint(run.best, kept)
            run.save_state(
                {
                    "step": step + 1,
                    "best": best,
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                }
            )
        run.add(step + 1, parts, scores)
        yield Step(step + 1, total, parts, scores)
    chosen = load_checkpoint(run.best).to(place)
    chosen.instances = fit_instances(chosen, validation)
    chosen.card["scores"] = validate(chosen, validation)
    save_checkpoint(run.best, chosen)
    return run.best


def split(recipe: Recipe, folders: Sequence[Source]) -> tuple[list[Sample], list[Sample]]:
    """Read dataset folders and part their images into training and validation.

    Where a folder does not say which images are kept for validation, every so many is.

    Raises
    ------
    UserError
        If a folder cannot be read, or one part has no annotated nucleus.
    """
    training: list[Sample] = []
    validation: list[Sample] = []
    for folder in folders:
        samples = load_source(folder, recipe.types or (), recipe.mpp)
        if folder.holdout:
            kept = {i for i, sample in enumerate(samples) if is_held_out(folder, sample)}
        else:
            kept = _spread(len(samples), recipe.holdout)
        for i, sample in enumerate(samples):
            (validation if i in kept else training).append(sample)
    if not any(s.labels.any() for s in training):
        raise UserError("There is no annotated nucleus to train on: give other --data folders.")
    if not any(s.labels.any() for s in validation):
        raise UserError(
            "No annotated nucleus is left for validation: give more images, or a holdout in the "
            "recipe."
        )
    return training, validation


def _spread(count: int, share: float) -> set[int]:
    """Return about that share of the indices, evenly spread; of two or more at least one."""
    if share == 0 or count < 2:
        return set()
    kept = max(round(share * count), 1)
    return {math.ceil((part + 1) * count / kept) - 1 for part in range(kept)}


def _counts(training: list[Sample], validation: list[Sample]) -> dict[str, dict[str, int]]:
    """Return how many images of each dataset are used for what."""
    names = dict.fromkeys(sample.dataset for sample in [*training, *validation])
    parts = {"training": training, "validation": validation}
    return {
        name: {part: sum(s.dataset == name for s in samples) for part, samples in parts.items()}
        for name in names
    }


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


def _start(recipe: Recipe, init: NucleusModel | None) -> NucleusModel:
    types = recipe.types or ()
    model = init or create_model(recipe.model, types, **recipe.options)
    if (model.name, model.types) != (recipe.model, types):
        raise UserError(
            f"The weights to start from are {_described(model.name, model.types)}, and to be "
            f"trained is {_described(recipe.model, types)}: make them the same."
        )
    model.mpp = recipe.mpp
    return model


def _described(name: str, types: tuple[str, ...]) -> str:
    return f"{name} with types {', '.join(types)}" if types else f"{name} without types"


def _learn(
    model: NucleusModel, optimizer: torch.optim.Optimizer, batch: Batch, recipe: Recipe
) -> dict[str, float] | None:
    """Take a step, and return the loss of every branch; None, and no step, if it is no number."""
    model.train()
    device = batch.images.device.type
    with torch.autocast(device, dtype=autocast_dtype(batch.images.device)):
        logits = model(batch.images.contiguous(memory_format=torch.channels_last))
    parts = branch_losses(logits, batch, recipe)
    total = torch.stack(list(parts.values())).sum()
    if not torch.isfinite(total):
        return None
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {key: float(value.detach()) for key, value in parts.items()}


def _schedule(step: int, total: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * done))
