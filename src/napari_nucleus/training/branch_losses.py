"""Losses of the branches of a network, as a recipe names them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from napari_nucleus.models import NucleusModel, losses
from napari_nucleus.models.batch import Batch
from napari_nucleus.training.recipe import Recipe

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def branch_losses(
    model: NucleusModel, logits: dict[str, Tensor], batch: Batch, recipe: Recipe
) -> dict[str, Tensor]:
    """Return the loss of every branch that the model has, weighted; their sum is minimised.

    Parameters
    ----------
    model : NucleusModel
        Whose they are.
    logits : dict of str to Tensor
        As `NucleusModel.forward` returns them.
    batch : Batch
        What they should be, and which pixels count.
    recipe : Recipe
        Which losses.
    """
    by_branch = {
        "np": lambda answer: np_loss(recipe)(answer, batch.np, batch.seen),
        "hv": lambda answer: _hv_loss(answer, batch),
        "tp": lambda answer: tp_loss(recipe)(answer, batch.tp, batch.typed),
    }
    parts = {
        key: by_branch[key.partition("_")[0]](answer)
        for key, answer in logits.items()
        if key.partition("_")[0] in by_branch
    }
    parts |= model.own_losses(logits, batch, recipe.tp_loss, recipe.tp_gamma)
    return {key: recipe.loss_weights.get(key, 1.0) * loss for key, loss in parts.items()}


def np_loss(recipe: Recipe) -> Loss:
    """Return the loss of the nucleus branch.

    Parameters
    ----------
    recipe : Recipe
        Names the loss and its focusing.
    """
    known: dict[str, Loss] = {
        "dice": losses.dice,
        "ce_dice": losses.ce_dice,
        "focal_dice": partial(losses.focal_dice, gamma=recipe.np_gamma),
        "asymmetric": partial(losses.asymmetric, gamma_pos=recipe.np_gamma),
        "asymmetric_dice": partial(losses.asymmetric_dice, gamma_pos=recipe.np_gamma),
    }
    return known[recipe.np_loss]


def tp_loss(recipe: Recipe) -> Loss:
    """Return the loss of the type branch.

    Parameters
    ----------
    recipe : Recipe
        Names the loss and its focusing.
    """
    known: dict[str, Loss] = {
        "dice": losses.dice,
        "ce_dice": partial(losses.ce_dice, weights=_tp_weights(recipe)),
        "focal": partial(losses.focal, gamma=recipe.tp_gamma),
        "focal_dice": partial(losses.focal_dice, gamma=recipe.tp_gamma),
    }
    return known[recipe.tp_loss]


def _tp_weights(recipe: Recipe) -> tuple[float, ...] | None:
    """Return the weight of the background and of each type, if the recipe gives any."""
    if not recipe.tp_weights:
        return None
    return (1.0, *(recipe.tp_weights.get(name, 1.0) for name in recipe.types or ()))


def _hv_loss(answer: Tensor, batch: Batch) -> Tensor:
    focus = batch.shaped & (batch.np == 1)
    return losses.mse(answer, batch.hv, batch.shaped) + losses.msge(answer, batch.hv, focus)
