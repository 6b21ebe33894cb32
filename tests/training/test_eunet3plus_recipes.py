"""The recipes of the SAM-fused eU-Net3+ differ from each other in what their tables are about."""

from dataclasses import asdict
from pathlib import Path

import pytest

from napari_nucleus.training.recipe import load_recipe
from tests.training.test_recipes import RECIPES, flat

SETS = ("cryonuseg", "nuinsseg", "conic")
ABLATIONS = {
    name: (base, changes)
    for of in SETS
    for name, base, changes in (
        (f"unet3plus_{of}", f"eunet3plus_{of}", {("model",): "unet3plus"}),
        *(
            (f"eunet3plus_{of}_{unit}", f"eunet3plus_{of}", {("options", "activation"): unit})
            for unit in ("relu", "leaky_relu", "swish")
        ),
        (f"sam_eunet3plus_{of}", f"eunet3plus_{of}", {("model",): "sam_eunet3plus_b"}),
        (
            f"sam_eunet3plus_{of}_concat",
            f"sam_eunet3plus_{of}",
            {("options", "fusion"): "concat"},
        ),
        *(
            (
                f"sam_eunet3plus_{of}_{kind}",
                f"sam_eunet3plus_{of}",
                {("model",): f"sam_eunet3plus_{kind}"},
            )
            for kind in "lh"
        ),
    )
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_differs_in_what_it_is_about(name: str) -> None:
    base, changes = ABLATIONS[name]
    before, after = (flat(asdict(load_recipe(RECIPES[of]))) for of in (base, name))
    assert {key: after[key] for key in after if after[key] != before.get(key)} == changes


def test_every_ablation_is_in_the_table() -> None:
    there = {name for name in RECIPES if "unet3plus_" in name}
    assert there == {*ABLATIONS, *(f"eunet3plus_{of}" for of in (*SETS, "small", "small_he"))}


@pytest.mark.parametrize("of", SETS)
def test_training_is_the_papers(of: str) -> None:
    recipe = load_recipe(RECIPES[f"eunet3plus_{of}"])
    assert (recipe.patch, recipe.augment, recipe.np_loss) == (256, "eunet3plus", "focal_dice")
    (phase,) = recipe.phases
    assert (recipe.optimizer, phase.lr, phase.epochs, phase.batch) == ("adam", 1e-4, 50, 16)
    assert phase.views > 0
    held_out = recipe.source(Path("CoNIC")).holdout
    assert bool(held_out) == (of == "conic")
