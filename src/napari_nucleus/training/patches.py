"""The patches of every step, cut in a thread ahead of the network."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric

from napari_nucleus.augment import PatchSampler, create_augmentation
from napari_nucleus.datasets import Sample, Source
from napari_nucleus.models.batch import Batch, Crops
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.schedule import PhaseSchedule
from napari_nucleus.training.split import weights_by_index

S = TypeVar("S")
T = TypeVar("T")

_AHEAD = 2
"""Steps whose patches wait for the network."""


class Patches:
    """Cuts and augments the patches of a run.

    What a step sees depends on the seed and on its number alone, so that a resumed run is the same
    run; and which patches are cut does not depend on how many processes share them.

    Parameters
    ----------
    recipe : Recipe
        How patches are drawn and augmented.
    samples, sources : list of Sample
        Training images, and where they are from.
    fabric : Fabric
        Where patches are augmented, and which of how many processes this is.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: list[Sample],
        sources: Iterable[Source],
        fabric: Fabric,
    ) -> None:
        self.seed = recipe.seed
        self.device = fabric.device
        self.rank = fabric.global_rank
        self.processes = fabric.world_size
        self.augment = create_augmentation(recipe.augment, recipe.patch).to(fabric.device)
        self.sampler = PatchSampler(
            samples,
            {source.path.name: source.share for source in sources},
            recipe.patch,
            recipe.sampling,
            weights_by_index(recipe),
            margin=self.augment.margin,
            jitter=self.augment.jitter,
        )

    def cut(self, schedule: PhaseSchedule, start: int, first: int) -> Generator[list[Crops]]:
        """Yield the crops of each step of a phase, one for every batch that it accumulates.

        Parameters
        ----------
        schedule : PhaseSchedule
            The phase.
        start : int
            Steps of the run before the phase.
        first : int
            Step of the phase to begin with.
        """
        phase = schedule.phase

        def draw(step: int) -> list[Crops]:
            key = start + schedule.replayed(step)
            firsts = (
                (batch * self.processes + self.rank) * phase.batch
                for batch in range(phase.accumulate)
            )
            return [
                self.sampler.draw(range(one, one + phase.batch), key, self.seed) for one in firsts
            ]

        return _ahead(draw, range(first, schedule.steps))

    def see(
        self, crops: list[Crops], schedule: PhaseSchedule, start: int, step: int
    ) -> Iterator[Batch]:
        """Yield augmented batches.

        Before each, PyTorch's generator is seeded: for the augmentation by the step whose patches
        are used, and for what is random in the network by the step itself.

        Parameters
        ----------
        crops : list of Crops
            What `cut` has yielded for the step.
        schedule : PhaseSchedule
            The phase.
        start : int
            Steps of the run before the phase.
        step : int
            Step of the phase.
        """
        for number, part in enumerate(crops):
            self._seed(start + schedule.replayed(step), number, 0)
            batch = self.augment(part.to(self.device))
            self._seed(start + step, number, 1)
            yield batch

    def _seed(self, *key: int) -> None:
        sequence = np.random.SeedSequence((self.seed, self.rank, *key))
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


def _ahead(make: Callable[[S], T], items: Iterable[S]) -> Generator[T]:
    """Yield what `make` makes of every item, made in a thread while others are used."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="patches")
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
