"""The recipes that ship: whole, known to the rest of the house, and different where they say so."""

from dataclasses import asdict
from pathlib import Path

import pytest

from napari_nucleus.augment import AUGMENTATIONS, SAMPLINGS
from napari_nucleus.errors import UserError
from napari_nucleus.models import list_models
from napari_nucleus.training.branch_losses import np_loss, tp_loss
from napari_nucleus.training.recipe import load_recipe
from napari_nucleus.training.split import weights_by_index

ROOT = Path(__file__).parents[2]
RECIPES = {file.stem: file for file in sorted((ROOT / "recipes").glob("*.toml"))}

BATCH = {("phases", 0, "batch"), ("phases", 1, "batch")}
RATE = {("phases", 0, "lr"), ("phases", 1, "lr")}

ABLATIONS = {
    "consep_baseline": ("consep", {("phases", 0, "batch"): 16}),
    "consep_lr_5e-5": ("consep_baseline", dict.fromkeys(RATE, 5e-5)),
    "consep_batch_64": ("consep_baseline", dict.fromkeys(BATCH, 64)),
    "consep_batch_128": ("consep_baseline", dict.fromkeys(BATCH, 128)),
    "consep_np_gamma_0.5": ("consep_baseline", {("np_gamma",): 0.5}),
    "consep_tp_gamma_3": ("consep_baseline", {("tp_gamma",): 3.0}),
    "consep_sampling_random": ("consep_baseline", {("sampling",): "random"}),
    "consep_sampling_uniform": ("consep_baseline", {("sampling",): "uniform"}),
    "consep_loss_asymmetric_focal": ("consep_sampling_random", {("np_gamma",): 0.5}),
    "consep_loss_asymmetric_dice_focal_dice": (
        "consep_loss_asymmetric_focal",
        {("np_loss",): "asymmetric_dice", ("tp_loss",): "focal_dice"},
    ),
    "consep_loss_asymmetric_dice_ce_dice": (
        "consep_loss_asymmetric_focal",
        {("np_loss",): "asymmetric_dice", ("tp_loss",): "ce_dice"},
    ),
    "consep_loss_ce_dice_focal_dice": (
        "consep_sampling_random",
        {("np_loss",): "ce_dice", ("tp_loss",): "focal_dice"},
    ),
    "consep_loss_ce_dice": (
        "consep_sampling_random",
        {("np_loss",): "ce_dice", ("tp_loss",): "ce_dice"},
    ),
    "consep_augment_none": ("consep_loss_ce_dice", {("augment",): "none"}),
    "consep_augment_basic": ("consep_loss_ce_dice", {("augment",): "basic"}),
    "consep_augment_moderate": ("consep_loss_ce_dice", {("augment",): "moderate"}),
    "consep_augment_strong": ("consep_loss_ce_dice", {("augment",): "strong"}),
    "pannuke_base": ("pannuke", {("model",): "histonext_base"}),
    "pannuke_large": ("pannuke", {("model",): "histonext_large"}),
    **{
        f"pannuke{size}_split{split}": (f"pannuke{size}", changes)
        for size in ("", "_base", "_large")
        for split, changes in {
            2: {("data", "PanNuke", "holdout", 0): "fold1"},
            3: {("data", "PanNuke", "parts", 0): "fold2", ("data", "PanNuke", "parts", 1): "fold3"},
        }.items()
    },
}
"""Recipe to the one that it is an ablation of, and what it changes there."""


def flat(value: object, key: tuple = ()) -> dict[tuple, object]:
    """Return the values of nested tables and lists by their path."""
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    else:
        return {key: value}
    return {k: v for name, part in parts for k, v in flat(part, (*key, name)).items()}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_names_what_there_is(name: str) -> None:
    recipe = load_recipe(RECIPES[name])
    assert recipe.model in list_models()
    assert recipe.augment in AUGMENTATIONS
    assert recipe.sampling in SAMPLINGS
    assert callable(np_loss(recipe))
    assert callable(tp_loss(recipe))
    if recipe.types is not None:
        assert set(weights_by_index(recipe)) <= set(range(1, len(recipe.types) + 1))


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_differs_in_what_it_is_about(name: str) -> None:
    base, changes = ABLATIONS[name]
    before, after = (flat(asdict(load_recipe(RECIPES[f"histonext_{n}"]))) for n in (base, name))
    assert before.keys() == after.keys()
    assert {key: after[key] for key in after if after[key] != before[key]} == changes


def test_every_ablation_is_in_the_table() -> None:
    families = ("histonext_consep_", "histonext_pannuke_")
    there = {name for name in RECIPES if name.startswith(families)}
    assert there == {f"histonext_{name}" for name in ABLATIONS}


def test_final_configuration_is_the_papers() -> None:
    recipe = load_recipe(RECIPES["histonext_consep"])
    assert (recipe.model, recipe.patch, recipe.augment) == ("histonext_tiny", 270, "full")
    assert (recipe.np_loss, recipe.np_gamma) == ("asymmetric", 1.0)
    assert (recipe.tp_loss, recipe.tp_gamma) == ("focal", 2.0)
    assert recipe.type_weights == {"miscellaneous": 4.0, "normal_epithelial": 3.0}
    assert (recipe.sampling, recipe.optimizer, recipe.schedule) == ("type_aware", "adam", "step")
    assert (recipe.validate_every, recipe.patience) == (5, 20)
    phases = [(phase.train, phase.batch, phase.lr) for phase in recipe.phases]
    assert phases == [("decoder", 64, 1e-4), ("all", 16, 1e-4)]
    assert sum(phase.epochs for phase in recipe.phases) == 120


@pytest.mark.parametrize("name", [name for name in RECIPES if "pannuke" in name])
def test_pannuke_is_validated_on_one_fold_and_keeps_one_for_the_test(name: str) -> None:
    source = load_recipe(RECIPES[name]).source(Path("PanNuke"))
    assert set(source.holdout) < set(source.parts) < {"fold1", "fold2", "fold3"}


def test_mistyped_key_in_an_ablation_is_named(tmp_path: Path) -> None:
    for file in RECIPES.values():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    file = tmp_path / "histonext_consep_augment_basic.toml"
    file.write_text(file.read_text().replace("augment =", "augmnet ="))
    with pytest.raises(UserError, match=r"basic\.toml has no key 'augmnet': did you mean 'augment"):
        load_recipe(file)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_in_the_documentation(name: str) -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page
