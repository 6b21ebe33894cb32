"""A picture of augmented training patches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from napari_nucleus.augment import write_preview
from napari_nucleus.datasets import find_types
from napari_nucleus.errors import UserError
from napari_nucleus.files import write_errors
from napari_nucleus.training.distributed import start_fabric
from napari_nucleus.training.patches import Patches
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.split import split

_PATCHES = 12


def preview(recipe: Recipe, data: Sequence[str | Path], path: Path) -> None:
    """Draw patches as a recipe cuts and augments them.

    Parameters
    ----------
    recipe : Recipe
        What would be trained.
    data : Sequence[str or Path]
        Datasets, one folder each.
    path : Path
        PNG file.

    Raises
    ------
    UserError
        If the data cannot be trained on, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"{path} is not a PNG file: name the preview something.png.")
    sources = [recipe.source(Path(folder)) for folder in data]
    if recipe.types is None:
        recipe = replace(recipe, types=find_types(sources))
    training, _ = split(recipe, sources)
    patches = Patches(recipe, training, sources, start_fabric())
    crops = patches.sampler.draw(range(_PATCHES), 0, recipe.seed)
    torch.manual_seed(recipe.seed)
    batch = patches.augment(crops.to(patches.device))
    title = f"{recipe.augment}: {recipe.patch} px at {recipe.mpp:g} µm/px"
    with write_errors(path):
        write_preview(path, crops, batch, recipe.types or (), title)
