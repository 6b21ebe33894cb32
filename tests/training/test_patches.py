from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from napari_nucleus.augment import AUGMENTATIONS
from napari_nucleus.datasets import Source
from napari_nucleus.training.patches import Patches, _ahead
from napari_nucleus.training.recipe import Phase, Recipe
from napari_nucleus.training.schedule import PhaseSchedule
from napari_nucleus.training.split import split
from tests.training.tiny import SHORT


def patches(data: Path, recipe: Recipe, rank: int = 0, processes: int = 1) -> Patches:
    recipe = replace(recipe, types=("dark", "pale"))
    sources = [Source(data)]
    fabric: Any = SimpleNamespace(
        device=torch.device("cpu"), global_rank=rank, world_size=processes
    )
    return Patches(recipe, split(recipe, sources)[0], sources, fabric)


def test_every_strategy_of_a_recipe_is_one_of_the_augmentations() -> None:
    for name in AUGMENTATIONS:
        assert Recipe(augment=name).augment == name  # type: ignore[arg-type]


def test_processes_share_the_patches_of_one(data: Path) -> None:
    """Two processes with batches of two, accumulated twice, see what one with eight sees."""
    whole = PhaseSchedule(Phase(batch=8), per_epoch=1)
    parts = PhaseSchedule(Phase(batch=2, accumulate=2), per_epoch=1)
    (one,) = next(patches(data, SHORT).cut(whole, 5, 0))
    first, second = (next(patches(data, SHORT, rank, 2).cut(parts, 5, 0)) for rank in (0, 1))
    ordered = (first[0], second[0], first[1], second[1])
    assert torch.equal(one.images, torch.cat([crops.images for crops in ordered]))
    assert one.names == sum((crops.names for crops in ordered), ())


def test_views_show_the_same_pixels_again(data: Path) -> None:
    schedule = PhaseSchedule(Phase(epochs=3, batch=2, views=1), per_epoch=2)
    source = patches(data, replace(SHORT, augment="any_lab"))
    seen = []
    for step, crops in enumerate(source.cut(schedule, 7, 0)):
        (batch,) = source.see(crops, schedule, 7, step)
        seen.append((batch.images, torch.rand(1)))
    assert torch.equal(seen[0][0], seen[2][0])
    assert torch.equal(seen[1][0], seen[5][0])
    assert not torch.equal(seen[0][0], seen[1][0])
    chances = [chance.item() for _, chance in seen]
    assert len(set(chances)) == 6  # what is random in the network is drawn anew


def test_processes_augment_differently(data: Path) -> None:
    schedule = PhaseSchedule(Phase(batch=2), per_epoch=2)
    recipe = replace(SHORT, augment="any_lab")
    one, other = (patches(data, recipe, rank, 2) for rank in (0, 1))
    crops = next(one.cut(schedule, 0, 0))
    (first,), (second,) = (of.see(crops, schedule, 0, 0) for of in (one, other))
    assert not torch.equal(first.images, second.images)


def test_items_are_made_ahead_in_order_and_only_a_few() -> None:
    made: list[int] = []
    one_more = Semaphore(0)

    def make(item: int) -> int:
        made.append(item)
        one_more.release()
        return item * item

    squares = _ahead(make, range(100))
    assert [next(squares) for _ in range(4)] == [0, 1, 4, 9]
    assert all(one_more.acquire(timeout=60) for _ in range(5))  # nobody has asked for the fifth
    squares.close()
    assert len(made) <= 6


def test_what_goes_wrong_ahead_is_told() -> None:
    def make(item: int) -> float:
        return 1 / (2 - item)

    numbers: Iterator[float] = _ahead(make, range(4))
    assert [next(numbers), next(numbers)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(numbers)
