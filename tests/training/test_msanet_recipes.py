"""MSA-Net's recipes: each ablation changes what it is about, and nothing else."""

from dataclasses import asdict
from pathlib import Path

import pytest

from napari_nucleus.models.msanet import MSANet
from napari_nucleus.training.recipe import Recipe, load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"

OPTIONS: dict[str, tuple[str, dict[str, object]]] = {
    "msanet_single_scale": ("msanet", {"multi_scale": False}),
    "msanet_no_distillation": ("msanet", {"distill": []}),
    "msanet_pathology_clip": ("msanet", {"clip": "ViT-B-16/pathology_clip.safetensors"}),
    "msanet_boundary": ("msanet", {"boundary": True}),
    "msanet_types_clip_zero_shot": ("msanet_types", {"adaptation": "zero_shot"}),
    "msanet_types_clip_fine_tune": ("msanet_types", {"adaptation": "fine_tune"}),
    "msanet_types_clip_linear_probe": ("msanet_types", {"adaptation": "linear_probe"}),
    "msanet_types_nodes_visual": ("msanet_types", {"nodes": "visual"}),
    "msanet_types_nodes_visual_spatial": ("msanet_types", {"nodes": "visual+spatial"}),
    "msanet_types_nodes_visual_text": ("msanet_types", {"nodes": "visual+text"}),
    "msanet_types_no_edges": ("msanet_types", {"edges": False}),
    "msanet_types_loss_dice_ce_focal": ("msanet_types", {"distill": []}),
}
"""Recipe to the one that it is an ablation of, and the options that it changes."""

LOSSES = {
    "msanet_types_loss_dice_ce": ("msanet_types_loss_dice_ce_focal", {"tp_loss": "ce_dice"}),
    "msanet_types_loss_dice": (
        "msanet_types_loss_dice_ce",
        {"np_loss": "dice", "tp_loss": "dice"},
    ),
}


def read(name: str) -> Recipe:
    return load_recipe(FOLDER / f"{name}.toml")


def differences(name: str, base: str) -> dict[str, object]:
    before, after = asdict(read(base)), asdict(read(name))
    return {key: after[key] for key in after if after[key] != before[key]}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_differ_in_what_the_ablation_is_about(name: str) -> None:
    base, changes = OPTIONS[name]
    assert differences(name, base) == {"options": {**read(base).options, **changes}}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_differ_in_what_the_ablation_is_about(name: str) -> None:
    base, changes = LOSSES[name]
    assert differences(name, base) == changes


def test_final_configuration_is_the_papers() -> None:
    recipe = read("msanet_types")
    assert (recipe.model, recipe.patch, recipe.augment) == ("msanet", 270, "msanet")
    assert (recipe.np_loss, recipe.tp_loss, recipe.tp_gamma) == ("ce_dice", "focal", 2.0)
    assert recipe.loss_weights == {"np": 1, "types": 1, "distillation": 1}
    assert (recipe.optimizer, recipe.weight_decay, recipe.schedule) == ("adamw", 0.01, "cosine")
    (phase,) = recipe.phases
    assert (phase.epochs, phase.batch * phase.accumulate, phase.lr) == (100, 64, 1e-4)
    assert recipe.warmup == 5 * recipe.epoch // 64


def test_every_recipe_is_an_ablation_or_a_start() -> None:
    there = {file.stem for file in FOLDER.glob("msanet*.toml")}
    starts = {"msanet", "msanet_types", "msanet_small_consep", "msanet_small_he"}
    assert there == {*starts, *OPTIONS, *LOSSES}


def test_compact_recipe_builds_its_model() -> None:
    recipe = read("msanet_small_consep")
    model = MSANet("msanet_small", recipe.types or (), **recipe.options)
    assert model.options["boundary"]
    assert model.window == recipe.patch
