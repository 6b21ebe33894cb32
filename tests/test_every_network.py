"""Every registered network through all that is done with one."""

from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch

from napari_nucleus.evaluation import evaluate
from napari_nucleus.inference import segment
from napari_nucleus.models import NucleusModel, create_model, list_models
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.models.sam.model import FrozenSam, SamGuide
from napari_nucleus.prompts.propose import OutlineProposer
from napari_nucleus.retraining import Retraining, comparison, config
from napari_nucleus.retraining.loop import retrain
from napari_nucleus.slides import slide_from_arrays
from tests.edits.folder import picture
from tests.small_sam import small_sam
from tests.tissue import Tissue, tissue, write_dataset

SMALLEST = ("eunet3plus_small", "sam_eunet3plus_small", "histonext_atto", "msanet_small")


def trained(name: str) -> NucleusModel:
    """Return a network that sees nuclei: with the weights that ship, as far as they fit."""
    weights = f"{name.removeprefix('sam_')}_he"
    model = load_checkpoint(weights)
    if model.name == name:
        return model
    fused = create_model(name, model.types)
    assert not fused.load_state_dict(model.state_dict(), strict=False).unexpected_keys
    fused.mpp, fused.instances = model.mpp, model.instances
    return fused


def test_of_every_class_of_networks_one_is_small_enough_to_be_tested() -> None:
    with torch.device("meta"):
        classes = {name: type(create_model(name, pretrained=False)) for name in list_models()}
    # other tests of this process may have registered networks of their own
    classes = {n: c for n, c in classes.items() if c.__module__.startswith("napari_nucleus.")}
    assert set(classes.values()) == {classes[name] for name in SMALLEST}


@pytest.fixture
def made() -> Tissue:
    return tissue(200, 220, seed=3, density=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_segment_click_retrain_and_evaluate(
    name: str, made: Tissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("data", "cache"):
        monkeypatch.setattr(platformdirs, f"user_{kind}_path", lambda *_: tmp_path)
    sam = FrozenSam(small_sam(), "vit_t")
    monkeypatch.setattr(SamGuide, "load", lambda _: sam)
    monkeypatch.setattr(config, "_EPOCH", 4)
    monkeypatch.setattr(comparison, "colon", lambda: picture(96, 96, 0.5))
    torch.manual_seed(0)
    weights = tmp_path / "models" / f"{name}.safetensors"
    weights.parent.mkdir()
    save_checkpoint(weights, trained(name))
    slide = slide_from_arrays([made.stained()], 0.25)

    result = segment(slide, tmp_path / "one.nucleus", weights, device="cpu")
    seen = result.read_labels(0, 0, 220, 200) > 0
    true = made.labels > 0
    assert (seen & true).sum() > 0.5 * (seen | true).sum()
    assert set(result.table()["type"]) <= set(result.types)

    label = made.labels[100, 110] or made.labels[80:120, 90:130].max()
    y, x = (axis.mean() for axis in np.nonzero(made.labels == label))
    outline = OutlineProposer(slide, 0.25, result.path, None).outline((x, y))
    clicked = np.zeros(true.shape, bool)
    height, width = outline.mask.shape
    clicked[outline.y : outline.y + height, outline.x : outline.x + width] = outline.mask
    nucleus = made.labels == label
    assert (clicked & nucleus).sum() > 0.5 * (clicked | nucleus).sum()

    data = write_dataset(tmp_path / "made", {"a": made, "b": tissue(140, 140, 4)})
    types = tuple(load_checkpoint(weights).types) and ("dark", "pale")
    job = Retraining((data,), str(weights), types, epochs=1, device="cpu")
    new = retrain(job, tmp_path / "run")
    assert new.checkpoint.is_file()
    assert 0 <= new.after["pq"] <= 1

    scores = evaluate(new.checkpoint, [data], device="cpu")
    assert scores["images"] == 2
    assert scores["aji"] > 0
