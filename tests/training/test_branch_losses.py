from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_nucleus.models import losses
from napari_nucleus.models.batch import Batch
from napari_nucleus.training.branch_losses import branch_losses
from napari_nucleus.training.recipe import Recipe
from tests.training.tiny import Tiny

MODEL = Tiny(())
NP_LOSSES = ("ce_dice", "focal_dice", "asymmetric", "asymmetric_dice")
TP_LOSSES = ("ce_dice", "focal", "focal_dice")


def made() -> tuple[dict[str, Tensor], Batch]:
    """Logits, and what they should be: on the left, ever less is known."""
    generator = torch.Generator().manual_seed(0)
    logits = {
        key: torch.randn(1, channels, 8, 12, generator=generator).div(4).requires_grad_()
        for key, channels in (("np", 2), ("hv", 2), ("tp", 3))
    }
    seen, shaped, typed = (torch.ones(1, 8, 12, dtype=torch.bool) for _ in range(3))
    seen[..., :2], shaped[..., :6], typed[..., :8] = False, False, False
    nuclei = torch.ones(1, 8, 12, dtype=torch.long)
    batch = Batch(
        images=torch.zeros(1, 3, 8, 12),
        np=nuclei,
        hv=torch.zeros(1, 2, 8, 12),
        tp=nuclei,
        seen=seen,
        shaped=shaped,
        typed=typed,
        labels=nuclei,
        names=("a",),
    )
    return logits, batch


@pytest.mark.parametrize("np_loss", NP_LOSSES)
@pytest.mark.parametrize("tp_loss", TP_LOSSES)
def test_what_is_unknown_teaches_nothing(np_loss: str, tp_loss: str) -> None:
    """Pixels outside the image, shapes that are doubtful, types that nobody gave."""
    logits, batch = made()
    recipe = Recipe(np_loss=np_loss, tp_loss=tp_loss)  # type: ignore[arg-type]
    torch.stack(list(branch_losses(MODEL, logits, batch, recipe).values())).sum().backward()
    # a gradient of the distance maps reaches two pixels further
    for key, first, whole in (("np", 2, 2), ("hv", 4, 6), ("tp", 8, 8)):
        gradient = logits[key].grad
        assert gradient is not None
        assert not gradient[..., :first].any()
        assert gradient[..., whole:].all()


def test_recipe_says_how_much_is_focused() -> None:
    logits, batch = made()
    recipe = Recipe(np_loss="asymmetric", np_gamma=0.5, tp_loss="focal", tp_gamma=3)
    found = branch_losses(MODEL, logits, batch, recipe)
    assert found["np"] == losses.asymmetric(logits["np"], batch.np, batch.seen, gamma_pos=0.5)
    assert found["tp"] == losses.focal(logits["tp"], batch.tp, batch.typed, gamma=3)
    other = branch_losses(MODEL, logits, batch, replace(recipe, np_gamma=1, tp_gamma=2))
    assert found["np"] != other["np"]
    assert found["tp"] != other["tp"]


def test_model_may_have_fewer_branches() -> None:
    logits, batch = made()
    assert set(branch_losses(MODEL, {"np": logits["np"]}, batch, Recipe())) == {"np"}


def test_recipe_weighs_losses() -> None:
    logits, batch = made()
    plain = branch_losses(MODEL, logits, batch, Recipe())
    found = branch_losses(MODEL, logits, batch, Recipe(loss_weights={"hv": 0.25, "tp": 0}))
    assert found["np"] == plain["np"]
    assert found["hv"] == plain["hv"] / 4
    assert found["tp"] == 0


def test_deeper_answers_are_judged_as_the_last_one() -> None:
    logits, batch = made()
    found = branch_losses(MODEL, {**logits, "np_2": logits["np"] / 2}, batch, Recipe())
    assert found["np_2"] == losses.ce_dice(logits["np"] / 2, batch.np, batch.seen)


def test_models_have_losses_of_their_own() -> None:
    class Own(Tiny):
        def own_losses(
            self, logits: Any, batch: Batch, tp_loss: str, tp_gamma: float
        ) -> dict[str, torch.Tensor]:
            return {"graph": batch.images.sum() + 3}

    logits, batch = made()
    found = branch_losses(Own(()), logits, batch, Recipe(loss_weights={"graph": 2.0}))
    assert found["graph"] == 6


def test_recipe_weighs_types() -> None:
    logits, batch = made()
    names = ("a", "b")
    plain = branch_losses(MODEL, logits, batch, Recipe(types=names))
    alike = branch_losses(MODEL, logits, batch, Recipe(types=names, tp_weights={"a": 1}))
    more = branch_losses(MODEL, logits, batch, Recipe(types=names, tp_weights={"a": 5}))
    # all pixels are of one type: its weight cancels out
    torch.testing.assert_close(more["tp"], alike["tp"])
    # and the classes that do not occur no longer count in Dice
    assert alike["tp"] != plain["tp"]
    half = replace(batch, tp=batch.tp.clone())
    half.tp[:, :4] = 2
    less = branch_losses(MODEL, logits, half, Recipe(types=names, tp_weights={"a": 0.01}))
    other = branch_losses(MODEL, logits, half, Recipe(types=names, tp_weights={"b": 0.01}))
    assert less["tp"] != other["tp"]
    assert less["np"] == plain["np"]
