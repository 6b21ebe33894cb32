from dataclasses import replace

import pytest

from napari_nucleus.training.recipe import Phase, Recipe
from napari_nucleus.training.schedule import PhaseSchedule, phase_schedules


@pytest.mark.parametrize(
    ("phase", "processes", "per_epoch"),
    [
        (Phase(batch=8), 1, 12),
        (Phase(batch=4), 2, 12),
        (Phase(batch=2, accumulate=4), 1, 12),
        (Phase(batch=64), 2, 1),
    ],
)
def test_steps_in_an_epoch_of_hundred_patches(phase: Phase, processes: int, per_epoch: int) -> None:
    (found,) = phase_schedules(Recipe(phases=(phase,)), 100, processes)
    assert (found.per_epoch, found.steps) == (per_epoch, 25 * per_epoch)


def test_rate_falls_to_a_tenth_every_25_epochs() -> None:
    recipe = Recipe(schedule="step", warmup=0)
    of = PhaseSchedule(Phase(epochs=60, lr=1e-4), per_epoch=10)
    rates = [of.rate(step, recipe) for step in (0, 249, 250, 499, 500, 599)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])


def test_rate_falls_along_a_cosine_after_warmup() -> None:
    recipe = Recipe(schedule="cosine", warmup=4)
    of = PhaseSchedule(Phase(epochs=2, lr=2.0), per_epoch=42)
    rates = [of.rate(step, recipe) for step in (0, 1, 3, 4, 44, 83)]
    assert rates == pytest.approx([0.5, 1, 2, 2, 1, 0], abs=2e-3)
    assert of.rate(1, replace(recipe, schedule="step")) == pytest.approx(1)


def test_views_are_seen_again() -> None:
    of = PhaseSchedule(Phase(epochs=6, views=2), per_epoch=3)
    assert [of.replayed(step) for step in (0, 5, 6, 11, 17)] == [0, 5, 0, 5, 5]
    assert PhaseSchedule(Phase(epochs=6), per_epoch=3).replayed(17) == 17
