from dataclasses import replace

import pytest
import torch
from torch import Tensor

from napari_nucleus import losses
from napari_nucleus.augment import Batch
from napari_nucleus.recipe import Recipe
from napari_nucleus.training.objective import branch_losses

NP_LOSSES = ("ce_dice", "asymmetric", "asymmetric_dice")
TP_LOSSES = ("ce_dice", "focal", "focal_dice")


def made() -> tuple[dict[str, Tensor], Batch]:
    """Logits, and what they should be: on the left, ever less is known."""
    generator = torch.Generator().manual_seed(0)
    logits = {
        key: torch.randn(1, channels, 8, 8, generator=generator).div(4).requires_grad_()
        for key, channels in (("np", 2), ("hv", 2), ("tp", 3))
    }
    seen, shaped, typed = (torch.ones(1, 8, 8, dtype=torch.bool) for _ in range(3))
    seen[..., :2], shaped[..., :4], typed[..., :6] = False, False, False
    nuclei = torch.ones(1, 8, 8, dtype=torch.long)
    batch = Batch(
        images=torch.zeros(1, 3, 8, 8),
        np=nuclei,
        hv=torch.zeros(1, 2, 8, 8),
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
    torch.stack(list(branch_losses(logits, batch, recipe).values())).sum().backward()
    # a gradient of the distance maps reaches two pixels further
    for key, first, whole in (("np", 2, 2), ("hv", 2, 4), ("tp", 6, 6)):
        gradient = logits[key].grad
        assert gradient is not None
        assert not gradient[..., :first].any()
        assert gradient[..., whole:].all()


def test_recipe_says_how_much_is_focused() -> None:
    logits, batch = made()
    recipe = Recipe(np_loss="asymmetric", np_gamma=0.5, tp_loss="focal", tp_gamma=3)
    found = branch_losses(logits, batch, recipe)
    assert found["np"] == losses.asymmetric(logits["np"], batch.np, batch.seen, gamma_pos=0.5)
    assert found["tp"] == losses.focal(logits["tp"], batch.tp, batch.typed, gamma=3)
    other = branch_losses(logits, batch, replace(recipe, np_gamma=1, tp_gamma=2))
    assert found["np"] != other["np"]
    assert found["tp"] != other["tp"]


def test_model_may_have_fewer_branches() -> None:
    logits, batch = made()
    assert set(branch_losses({"np": logits["np"]}, batch, Recipe())) == {"np"}
