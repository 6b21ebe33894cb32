"""What a network's answer costs: the losses of its branches, as a recipe names them."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from napari_nucleus import losses
from napari_nucleus.augment import Batch
from napari_nucleus.recipe import Recipe

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def branch_losses(logits: dict[str, Tensor], batch: Batch, recipe: Recipe) -> dict[str, Tensor]:
    """Return the loss of every branch that the model has; their sum is minimised.

    Parameters
    ----------
    logits
        As `NucleusModel.forward` returns them.
    batch
        What they should be, and which pixels count.
    recipe
        Which losses.
    """
    parts = {"np": np_loss(recipe)(logits["np"], batch.np, batch.seen)}
    if "hv" in logits:
        focus = batch.shaped & (batch.np == 1)
        hv = losses.mse(logits["hv"], batch.hv, batch.shaped)
        parts["hv"] = hv + losses.msge(logits["hv"], batch.hv, focus)
    if "tp" in logits:
        parts["tp"] = tp_loss(recipe)(logits["tp"], batch.tp, batch.typed)
    return parts


def np_loss(recipe: Recipe) -> Loss:
    """Return the loss of the nucleus branch."""
    known: dict[str, Loss] = {
        "ce_dice": losses.ce_dice,
        "asymmetric": partial(losses.asymmetric, gamma_pos=recipe.np_gamma),
        "asymmetric_dice": partial(losses.asymmetric_dice, gamma_pos=recipe.np_gamma),
    }
    return known[recipe.np_loss]


def tp_loss(recipe: Recipe) -> Loss:
    """Return the loss of the type branch."""
    known: dict[str, Loss] = {
        "ce_dice": losses.ce_dice,
        "focal": partial(losses.focal, gamma=recipe.tp_gamma),
        "focal_dice": partial(losses.focal_dice, gamma=recipe.tp_gamma),
    }
    return known[recipe.tp_loss]
