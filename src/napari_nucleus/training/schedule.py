"""Length and learning rate of the phases of a run."""

import math
from dataclasses import dataclass

from napari_nucleus.training.recipe import Phase, Recipe

_FALL, _EVERY = 0.1, 25
"""The rate of the ``"step"`` schedule is multiplied by the one after so many epochs."""


@dataclass(frozen=True)
class PhaseSchedule:
    """A phase in steps.

    Attributes
    ----------
    phase : Phase
        What the recipe says.
    per_epoch : int
        Optimizer steps in an epoch.
    """

    phase: Phase
    per_epoch: int

    @property
    def steps(self) -> int:
        """Optimizer steps in the phase."""
        return self.phase.epochs * self.per_epoch

    def replayed(self, step: int) -> int:
        """Return the step of the phase whose patches a step uses, which may be an earlier one.

        Parameters
        ----------
        step : int
            Step of the phase, from 0.
        """
        return step % (self.phase.views * self.per_epoch) if self.phase.views else step

    def rate(self, step: int, recipe: Recipe) -> float:
        """Return the learning rate of a step of the phase.

        Parameters
        ----------
        step : int
            Step of the phase, from 0.
        recipe : Recipe
            The recipe of the run.
        """
        if step < recipe.warmup:
            return self.phase.lr * (step + 1) / recipe.warmup
        if recipe.schedule == "step":
            return self.phase.lr * _FALL ** (step // self.per_epoch // _EVERY)
        done = (step - recipe.warmup) / max(self.steps - recipe.warmup, 1)
        return self.phase.lr * 0.5 * (1 + math.cos(math.pi * done))


def phase_schedules(recipe: Recipe, epoch: int, processes: int) -> list[PhaseSchedule]:
    """Lay out a run's phases.

    Parameters
    ----------
    recipe : Recipe
        What is to be done.
    epoch : int
        Patches in an epoch.
    processes : int
        How many share a step, each with batches of its own.
    """
    return [
        PhaseSchedule(phase, max(epoch // (phase.batch * phase.accumulate * processes), 1))
        for phase in recipe.phases
    ]
