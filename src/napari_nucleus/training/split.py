"""Split of annotated images into training and validation set."""

import math
from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from napari_nucleus.datasets import Sample, Source, is_held_out, load_source
from napari_nucleus.errors import UserError
from napari_nucleus.training.recipe import Recipe


def split(recipe: Recipe, sources: Sequence[Source]) -> tuple[list[Sample], list[Sample]]:
    """Read datasets and part their images into training and validation.

    Where a dataset does not say which images are kept for validation, every so many is.

    Parameters
    ----------
    recipe : Recipe
        The recipe of the run.
    sources : sequence of Source
        The datasets.

    Raises
    ------
    UserError
        If a dataset cannot be read, one part has no annotated nucleus, or a type has no
        nucleus in the training set.
    """
    training: list[Sample] = []
    validation: list[Sample] = []
    for source in sources:
        samples = load_source(source, recipe.types or (), recipe.mpp)
        if source.holdout:
            kept = {i for i, sample in enumerate(samples) if is_held_out(source, sample)}
        else:
            kept = _spread(len(samples), recipe.holdout)
        for i, sample in enumerate(samples):
            (validation if i in kept else training).append(sample)
    if not any(s.labels.any() for s in training):
        raise UserError(
            "There is no annotated nucleus to train on: choose other data.", setting="data"
        )
    if not any(s.labels.any() for s in validation):
        raise UserError(
            "No annotated nucleus is left for validation: give more images, or a holdout in the "
            "recipe."
        )
    _require_types(training, recipe.types or ())
    return training, validation


def count_images(training: list[Sample], validation: list[Sample]) -> dict[str, dict[str, int]]:
    """Return how many images of each dataset are used for what.

    Parameters
    ----------
    training, validation : list of Sample
        Both sets.
    """
    names = dict.fromkeys(sample.dataset for sample in [*training, *validation])
    parts = {"training": training, "validation": validation}
    return {
        name: {part: sum(s.dataset == name for s in samples) for part, samples in parts.items()}
        for name in names
    }


def count_tiles(samples: Sequence[Sample], patch: int) -> int:
    """Return how many patches it takes to cover the images once.

    Parameters
    ----------
    samples : sequence of Sample
        Annotated images.
    patch : int
        Side of a patch in pixels.
    """
    return sum(math.prod(math.ceil(side / patch) for side in s.labels.shape) for s in samples)


def weights_by_index(recipe: Recipe) -> dict[int, float]:
    """Return the recipe's type weights by type index.

    Parameters
    ----------
    recipe : Recipe
        The recipe of the run.

    Raises
    ------
    UserError
        If one names a type that is not learned.
    """
    types = recipe.types or ()
    for name in recipe.type_weights:
        if name not in types:
            near = get_close_matches(name, types, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(types)}."
            raise UserError(f"type_weights names the type {name!r}, which is not learned: {hint}")
    return {types.index(name) + 1: weight for name, weight in recipe.type_weights.items()}


def _spread(count: int, share: float) -> set[int]:
    """Return about that share of the indices, evenly spread; of two or more at least one."""
    if share == 0 or count < 2:
        return set()
    kept = max(round(share * count), 1)
    return {math.ceil((part + 1) * count / kept) - 1 for part in range(kept)}


def _require_types(training: list[Sample], types: tuple[str, ...]) -> None:
    there = {int(index) for sample in training for index in np.unique(sample.types)}
    missing = [name for index, name in enumerate(types, 1) if index not in there]
    if missing:
        raise UserError(
            f"No nucleus to train on is of type {', '.join(missing)}: take it out of the recipe's "
            "types, say under [data.NAME.types] which of a dataset's classes it is, or give other "
            "images."
        )
