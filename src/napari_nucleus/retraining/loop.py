"""Fine-tuning on reviewed regions, step by step."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import torch

from napari_nucleus.datasets import Sample, Source
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.fit_postprocessing import fit_parameters
from napari_nucleus.evaluation.validation import validate
from napari_nucleus.inference.steps import at_once
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.retraining.comparison import (
    Picture,
    agreement,
    find_nuclei,
    overall,
    reference_image,
    take_picture,
)
from napari_nucleus.retraining.config import PATCH, Retraining
from napari_nucleus.retraining.data import (
    TrainingData,
    check,
    count_shaped,
    knows_types,
    read_training_data,
)
from napari_nucleus.retraining.new_types import freeze_types, type_branch, with_types
from napari_nucleus.retraining.runs import SAMPLES, alone, forget_state, save_job
from napari_nucleus.slides import Slide
from napari_nucleus.training.curves import draw_curves
from napari_nucleus.training.distributed import start_fabric
from napari_nucleus.training.patches import Patches
from napari_nucleus.training.progress import Step
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.run import Run
from napari_nucleus.training.run_folder import RunFolder
from napari_nucleus.training.schedule import phase_schedules
from napari_nucleus.training.split import count_images, count_tiles
from napari_nucleus.weights.store import read_card

_FIT = 200
"""Training nuclei from which on the post-processing is fitted."""

_FIT_PIXELS = 2**19
"""About the pixels that are enough for that."""

_SEED = 0


@dataclass(frozen=True)
class Update:
    """Progress of a retraining.

    Attributes
    ----------
    step : Step or None
        The step that was taken; None before the first and after the last.
    scores : dict of str to float or None
        On the validation set (`overall`): of the model to start from before the first step, then
        after every epoch. None in between.
    picture : Picture or None
        Part of a validation region, with every scores.
    seconds_left : float or None
        Until the end, by the steps so far; None while there are none.
    """

    step: Step | None = None
    scores: dict[str, float] | None = None
    picture: Picture | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Retrained:
    """Result of a retraining.

    Attributes
    ----------
    checkpoint : Path
        The best model so far, by its score on the validation set.
    before, after : dict of str to float
        Scores on the validation set (`overall`), of the model to start from and of this one.
    agreement : float or None
        Panoptic quality of its nuclei in the `reference_image`, with those of the model to start
        from taken as the truth: 1 is unchanged. None if training was not completed.
    """

    checkpoint: Path
    before: dict[str, float]
    after: dict[str, float]
    agreement: float | None

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """Return what a run has made so far; None while there is nothing.

        Parameters
        ----------
        out : Path
            Folder of the run.

        Raises
        ------
        UserError
            If its checkpoint is damaged.
        """
        path = out / "best.safetensors"
        if not path.exists():
            return None
        card = read_card(path)["card"]
        before, after = overall(card["scores_before"]), overall(card["scores"])
        return cls(path, before, after, card.get("agreement"))


def retrain_steps(
    job: Retraining,
    out: str | Path,
    resume: bool = False,
    images: Mapping[Path, Slide] | None = None,
) -> Generator[Update, None, Retrained]:
    """Fine-tune a model on reviewed regions.

    `retrain` does it at once and returns what was made; `retrain_steps` yields after every step.
    Everything is read before the first update, and kept in `out`: what happens to the data
    afterwards does not matter. Against forgetting what it knew, the new model is the mean of the
    weights that it starts from and of those that it learns (WiSE-FT, Wortsman et al. 2022), and
    batch normalisation keeps its statistics. The images that the starting model was trained on do
    not come with it, so they cannot be shown to it again.

    Parameters
    ----------
    job : Retraining
        What to do.
    out : str or Path
        Folder of the run: what `training.train_steps` leaves, ``retraining.json`` and
        ``samples.npz``.
    resume : bool
        Go on with the run in `out`, which was made for the same job.
    images : mapping of Path to Slide or None
        Result folder to its image, of results whose image is in no file.

    Yields
    ------
    Update
        Before the first step, after every step, and now and then while the end is prepared. A run
        pauses while nobody asks for the next one; closing the generator keeps what was learned.

    Returns
    -------
    Retrained
        The new model, with its scores and those of the model that it was made from.

    Raises
    ------
    UserError
        If the model or the data cannot be used, something is missing (`data.check`), `out`
        holds another run, the loss stops being a number, or something cannot be written.
    """
    out = Path(out)
    fabric = start_fabric(job.device)
    folder = RunFolder(out, resume)
    start = load_checkpoint(job.model)
    types = start.types if job.types is None else job.types
    torch.manual_seed(_SEED)
    model, fresh = with_types(start, types)
    if job.train == "types" and types and type_branch(model) is None:
        raise UserError(
            f"{start.name} predicts outlines and classes with the same weights: train both, not "
            "the classes only."
        )
    if resume:
        data = TrainingData.load(out / SAMPLES)
    else:
        data = read_training_data(job.data, types, start.mpp, images)
        check(data, types, start.types, job.train)
    with alone(out):
        if not resume:
            data.save(out / SAMPLES)
            save_job(job, out)
        model.to(fabric.device)
        if not knows_types(data.training):
            freeze_types(model)
        recipe = job.recipe(model, count_tiles(data.training, PATCH))
        before = validate(model, data.validation)
        yield Update(scores=overall(before), picture=take_picture(model, data.validation))
        run = Run(
            fabric,
            recipe,
            folder,
            Patches(recipe, data.training, _sources(data), fabric),
            phase_schedules(recipe, recipe.epoch, fabric.world_size),
            data.validation,
            model,
            _about(job, start, recipe, data, before),
            fresh,
        )
        if resume:
            run.restore()
        with closing(_train(run, data.validation)) as steps:
            yield from steps
        yield from _finish(folder, start.to(fabric.device), data)
    made = Retrained.read(out)
    assert made is not None
    return made


retrain = at_once(retrain_steps)


def _about(
    job: Retraining,
    start: NucleusModel,
    recipe: Recipe,
    data: TrainingData,
    before: dict[str, Any],
) -> dict[str, Any]:
    """Return what the card of the new model says besides its scores."""
    return {
        **{key: start.card[key] for key in ("licence", "credit") if key in start.card},
        "started from": f"{job.model} ({start.sha256[:16]})",
        "version": version("napari-nucleus"),
        "data": count_images(data.training, data.validation),
        "recipe": asdict(recipe),
        "scores_before": before,
    }


def _train(run: Run, validation: Sequence[Sample]) -> Generator[Update]:
    spent = 0.0
    began = perf_counter()
    with closing(run.steps()) as steps:
        for done, step in enumerate(steps, 1):
            scores = picture = None
            if step.scores:
                scores = overall(step.scores)
                picture = take_picture(run.kept.eval(), validation)
            spent += perf_counter() - began
            yield Update(step, scores, picture, spent / done * (step.total - step.step))
            began = perf_counter()


def _finish(folder: RunFolder, start: NucleusModel, data: TrainingData) -> Generator[Update]:
    """Fit the post-processing of the best model, and compare it with the original one."""
    chosen = load_checkpoint(folder.best).to(next(start.parameters()).device)
    yield from _fit(chosen, data)
    yield Update()
    image = reference_image(chosen.mpp)
    seen = find_nuclei(start, image)
    yield Update()
    chosen.card["agreement"] = agreement(seen, find_nuclei(chosen, image))
    save_checkpoint(folder.best, chosen)
    draw_curves(folder.log, folder.curves)
    forget_state(folder.path)


def _fit(model: NucleusModel, data: TrainingData) -> Generator[Update]:
    """Fit the post-processing on the training set, if the validation set is no worse for it.

    They are few, and a model that is half the old one has learned hardly anything by heart.
    """
    samples, pixels = [], 0
    for sample in data.training:
        if pixels < _FIT_PIXELS:
            samples.append(sample)
            pixels += sample.labels.size
    if count_shaped(samples) < _FIT:
        return
    own = fitted = model.instances
    for best in fit_parameters(model, samples):
        fitted = best
        yield Update()
    model.instances = fitted
    scores = validate(model, data.validation)
    if overall(scores)["pq"] >= overall(model.card["scores"])["pq"]:
        model.card["scores"] = scores
    else:
        model.instances = own


def _sources(data: TrainingData) -> list[Source]:
    """Return where patches come from, as often as there is tissue."""
    areas: Counter[str] = Counter()
    for sample in data.training:
        areas[sample.dataset] += sample.labels.size
    return [Source(path=Path(name), share=area) for name, area in areas.items()]
