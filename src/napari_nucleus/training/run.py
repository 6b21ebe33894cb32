"""A training run in phases, epochs and steps, and how it is resumed."""

from collections.abc import Generator, Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict
from time import perf_counter
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_nucleus.datasets import Sample
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.validation import score_samples, summarize_validation
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.checkpoints import load_weights
from napari_nucleus.models.devices import memory_format
from napari_nucleus.training.distributed import gather, share_statistics
from napari_nucleus.training.learner import Diverged, Learner
from napari_nucleus.training.patches import Patches
from napari_nucleus.training.progress import Progress, Step
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.run_folder import RunFolder
from napari_nucleus.training.schedule import PhaseSchedule

_NAMED = 8
"""Images that a message names."""


class Run:
    """A run in memory.

    Parameters
    ----------
    fabric : Fabric
        Where it computes.
    recipe : Recipe
        What it does.
    folder : RunFolder
        Where it is kept.
    patches : Patches
        What it learns from.
    schedules : list of PhaseSchedule
        Its phases.
    validation : list of Sample
        What it is scored on.
    model : NucleusModel
        What learns.
    about : dict of str to Any
        What the model card says besides scores.
    fresh : frozenset of str
        Names of newly initialised parameters.
    """

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        folder: RunFolder,
        patches: Patches,
        schedules: list[PhaseSchedule],
        validation: list[Sample],
        model: NucleusModel,
        about: dict[str, Any],
        fresh: frozenset[str] = frozenset(),
    ) -> None:
        self.fabric = fabric
        self.recipe = recipe
        self.folder = folder
        self.patches = patches
        self.schedules = schedules
        self.validation = validation
        self.about = about
        self.progress = Progress()
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = model.to(fabric.device).to(memory_format=memory_format(fabric.device))
        self._learnable = frozenset(n for n, p in model.named_parameters() if p.requires_grad)
        self._fresh = fresh
        self._start: dict[str, torch.Tensor] = {}
        if recipe.start_share:
            known = ((n, p) for n, p in self.model.named_parameters() if n not in fresh)
            self._start = {name: parameter.detach().clone() for name, parameter in known}
        self._average: AveragedModel | None = None
        if recipe.ema:
            decay = get_ema_multi_avg_fn(recipe.ema)
            self._average = AveragedModel(self.model, multi_avg_fn=decay, use_buffers=True)
        self._learner: Learner | None = None
        self._optimizer: dict[str, Any] | None = None

    @property
    def kept(self) -> NucleusModel:
        """The model that is scored and saved: the average of the weights, or the weights.

        With a share of the starting weights, where the recipe wants one.
        """
        kept = cast(NucleusModel, self._average.module) if self._average else self.model
        if not self._start:
            return kept
        mixed = deepcopy(kept)
        with torch.no_grad():
            for name, parameter in mixed.named_parameters():
                if name in self._start:
                    parameter.lerp_(self._start[name], self.recipe.start_share)
        return mixed

    def restore(self) -> None:
        """Take up the state that the folder holds.

        Raises
        ------
        UserError
            If it is damaged or of another model.
        """
        state = self.folder.load_state()
        source = self.folder.state.name
        load_weights(self.model, state["model"], source)
        if self._average and state["average"]:
            self._average.load_state_dict(state["average"])
        if state["scaler"]:  # there is none in other precisions
            self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self._optimizer = state["optimizer"]
        self.progress = Progress(**state["progress"])

    def steps(self) -> Generator[Step]:
        """Yield every step to the end, and keep the state where the generator is closed."""
        try:
            while self.progress.phase < len(self.schedules):
                yield from self._phase(self.schedules[self.progress.phase])
        except GeneratorExit:
            self._save()
            raise

    def _phase(self, schedule: PhaseSchedule) -> Iterator[Step]:
        progress, phase = self.progress, self.progress.phase
        if progress.phase_step >= schedule.steps:
            progress.end_phase()
            return
        start = progress.step - progress.phase_step
        learner = self._learner = self._begin(schedule)
        with closing(self.patches.cut(schedule, start, progress.phase_step)) as cut:
            while progress.phase == phase and progress.phase_step < schedule.steps:
                epoch = progress.epoch + 1
                began, before = perf_counter(), learner.network_seconds
                batches = self.patches.see(next(cut), schedule, start, progress.phase_step)
                losses = self._learn(batches, schedule.rate(progress.phase_step, self.recipe))
                progress.step += 1
                progress.phase_step += 1
                seconds = perf_counter() - began
                network = learner.network_seconds - before
                epoch_ends = progress.phase_step % schedule.per_epoch == 0
                scores = self._end_epoch(schedule) if epoch_ends else None
                steps, epochs = self._left()
                step = Step(
                    progress.step,
                    progress.step + steps,
                    epoch,
                    progress.epoch + epochs,
                    losses,
                    scores,
                    seconds,
                    network,
                )
                self.folder.add(step)
                if epoch_ends:
                    self._save()
                yield step

    def _begin(self, schedule: PhaseSchedule) -> Learner:
        learner = Learner(
            self.fabric, self.model, self.recipe, schedule.phase, self._learnable, self._fresh
        )
        if self.progress.phase_step and self._optimizer:
            try:
                learner.optimizer.load_state_dict(self._optimizer)
                self._optimizer = None
            except ValueError as error:
                raise UserError(
                    f"{self.folder.state} belongs to a run with other phases: resume it with its "
                    "own recipe."
                ) from error
        return learner

    def _learn(self, batches: Iterator[Batch], rate: float) -> dict[str, float]:
        assert self._learner is not None
        try:
            losses = self._learner.step(batches, rate)
        except Diverged as error:
            raise UserError(
                f"The loss is not a number at step {self.progress.step + 1}, with patches of "
                f"{_listed(error.args)}: look at these images, or lower the learning rate, and "
                f"start again in another folder. What was saved until then stays in "
                f"{self.folder.path}."
            ) from None
        if self._average:
            self._average.update_parameters(self.model)
        return losses

    def _left(self) -> tuple[int, int]:
        """Return how many steps and epochs are left, the one that has begun included."""
        done, schedules = self.progress.phase_step, self.schedules[self.progress.phase :]
        steps = sum(schedule.steps for schedule in schedules) - done
        epochs = sum(schedule.phase.epochs for schedule in schedules)
        return steps, epochs - done // schedules[0].per_epoch if schedules else 0

    def _end_epoch(self, schedule: PhaseSchedule) -> dict[str, Any] | None:
        """Count an epoch, validate when it is time, and end a phase that no longer helps."""
        progress, recipe = self.progress, self.recipe
        progress.epoch += 1
        last = schedule is self.schedules[-1] and progress.phase_step == schedule.steps
        if progress.epoch % recipe.validate_every and not last:
            return None
        scores = self._validate()
        if 0 < recipe.patience <= progress.epoch - progress.since:
            progress.end_phase()
        return scores

    def _validate(self) -> dict[str, Any]:
        """Score the model, each process its share of the images, and keep it."""
        progress, kept = self.progress, self.kept.eval()
        share_statistics(kept)
        own = self.validation[self.fabric.global_rank :: self.fabric.world_size]
        scores = summarize_validation(gather(score_samples(kept, own)), kept.types)
        kept.card = {**self.about, "step": progress.step, "scores": scores}
        self.folder.save_weights(self.folder.last, kept)
        if scores["score"] > progress.best:
            progress.best, progress.since = scores["score"], progress.epoch
            self.folder.save_weights(self.folder.best, kept)
        return scores

    def _save(self) -> None:
        optimizer = self._learner.optimizer.state_dict() if self._learner else self._optimizer
        self.folder.save_state(
            {
                "progress": asdict(self.progress),
                "model": self.model.state_dict(),
                "average": self._average.state_dict() if self._average else None,
                "optimizer": optimizer if self.progress.phase_step else None,
                "scaler": self.fabric.strategy.precision.state_dict(),
            }
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
