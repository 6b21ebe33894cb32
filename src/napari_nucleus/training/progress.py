"""Progress of a training run."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """Progress of a run after a training step.

    Attributes
    ----------
    step, total : int
        Steps done, and to do in all; a phase that ends early leaves fewer.
    epoch, epochs : int
        The epoch that the step belongs to, from 1, and how many there are.
    losses : dict of str to float
        Loss of each branch.
    scores : dict of str to Any or None
        Validation scores, where this step ended with a validation.
    seconds, network_seconds : float
        Time that the step took without validation, and how much of it the network had.
    """

    step: int
    total: int
    epoch: int
    epochs: int
    losses: dict[str, float]
    scores: dict[str, Any] | None
    seconds: float
    network_seconds: float


@dataclass
class Progress:
    """State of a run besides its weights.

    Attributes
    ----------
    step, epoch : int
        Steps and whole epochs done.
    phase, phase_step : int
        Number of the phase, and steps done in it.
    best : float
        Highest validation score.
    since : int
        Epoch from which patience counts: of the highest score, or the first of the phase.
    """

    step: int = 0
    epoch: int = 0
    phase: int = 0
    phase_step: int = 0
    best: float = -math.inf
    since: int = 0

    def end_phase(self) -> None:
        """Go on with the next phase."""
        self.phase += 1
        self.phase_step = 0
        self.since = self.epoch
