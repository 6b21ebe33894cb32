"""The training loop: patches in, checkpoints out, a generator that a window can show and stop."""

import logging
from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import torch

from napari_nucleus.datasets import Source, find_types
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.fit_postprocessing import fit_parameters
from napari_nucleus.evaluation.validation import validate
from napari_nucleus.inference.steps import at_once
from napari_nucleus.models import NucleusModel, create_model
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.training.curves import draw_curves
from napari_nucleus.training.distributed import start_fabric
from napari_nucleus.training.patches import Patches
from napari_nucleus.training.progress import Step
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.run import Run
from napari_nucleus.training.run_folder import RunFolder
from napari_nucleus.training.schedule import phase_schedules
from napari_nucleus.training.split import count_images, count_tiles, split

_log = logging.getLogger(__name__)


def train_steps(
    recipe: Recipe,
    data: Sequence[str | Path],
    out: str | Path,
    init: NucleusModel | None = None,
    resume: bool = False,
    device: str | None = None,
) -> Generator[Step, None, Path]:
    """Train a model, and fit the parameters of its post-processing.

    `train` does it at once and returns the best checkpoint; `train_steps` yields after every step.
    In processes that torchrun has started, each trains on its own batches, and the first writes.

    Parameters
    ----------
    recipe : Recipe
        What to train and how.
    data : Sequence[str or Path]
        Datasets, one folder each.
    out : str or Path
        Folder for ``best.safetensors`` (highest validation score), ``last.safetensors``,
        ``state.pt`` (to resume from), ``log.csv`` and, at the end, ``curves.png``.
    init : NucleusModel or None
        Model to start from, of the recipe's name and types; it is left as it was.
    resume : bool
        Go on from ``state.pt``; the weights after any step are those of an unbroken run.
    device : str or None
        ``"cpu"``, ``"cuda"``, ``"mps"``, …; None takes the GPU where there is one.

    Yields
    ------
    Step
        After every optimizer step. A run pauses while nobody asks for the next one; closing the
        generator keeps what was learned.

    Returns
    -------
    Path
        The checkpoint with the highest validation score.

    Raises
    ------
    UserError
        If the data cannot be trained on, `out` holds another run, the loss stops being a number, or
        something cannot be written.
    """
    fabric = start_fabric(device)
    folder = RunFolder(Path(out), resume, writes=fabric.is_global_zero)
    sources = [recipe.source(Path(path)) for path in data]
    _warn_of_unnamed(recipe, sources)
    if recipe.types is None:
        recipe = replace(recipe, types=find_types(sources))
    training, validation = split(recipe, sources)
    patches = Patches(recipe, training, sources, fabric)
    epoch = recipe.epoch or count_tiles(training, recipe.patch)
    about = {
        **recipe.card,
        "version": version("napari-nucleus"),
        "data": count_images(training, validation),
        "recipe": asdict(recipe),
    }
    run = Run(
        fabric,
        recipe,
        folder,
        patches,
        phase_schedules(recipe, epoch, fabric.world_size),
        validation,
        _start(recipe, init),
        about,
    )
    if resume:
        run.restore()
    yield from run.steps()
    if fabric.is_global_zero:
        chosen = load_checkpoint(folder.best).to(fabric.device)
        *_, chosen.instances = fit_parameters(chosen, validation)
        chosen.card["scores"] = validate(chosen, validation)
        save_checkpoint(folder.best, chosen)
        draw_curves(folder.log, folder.curves)
    return folder.best


train = at_once(train_steps)


def _warn_of_unnamed(recipe: Recipe, sources: Sequence[Source]) -> None:
    """Warn of folders that the recipe does not name: its split would not apply to them."""
    unnamed = [name for s in sources if (name := s.path.name) not in recipe.data]
    if recipe.data and unnamed:
        _log.warning(
            "The recipe has settings for %s but not for %s, which is read with the defaults: "
            "rename the folder if it is one of those.",
            ", ".join(recipe.data),
            ", ".join(unnamed),
        )


def _start(recipe: Recipe, init: NucleusModel | None) -> NucleusModel:
    types = recipe.types or ()
    torch.manual_seed(recipe.seed)
    model = deepcopy(init) if init else create_model(recipe.model, types, **recipe.options)
    if (model.name, model.types) != (recipe.model, types):
        raise UserError(
            f"The weights to start from are {_described(model.name, model.types)}, and to be "
            f"trained is {_described(recipe.model, types)}: make them the same."
        )
    for option, value in recipe.options.items() if init else ():
        own = model.options.get(option)
        # a file that is named in a recipe is known by its digest in weights
        if type(own) is type(value) and own != value:
            raise UserError(
                f"The weights to start from have {option} = {own!r}, and the recipe wants "
                f"{value!r}: make them the same, or start without weights."
            )
    model.mpp = recipe.mpp
    return model


def _described(name: str, types: tuple[str, ...]) -> str:
    return f"{name} with types {', '.join(types)}" if types else f"{name} without types"
