"""A network that is trained in no time, images to train it on, and weights to start from."""

from pathlib import Path

import platformdirs
import pytest
import torch

from napari_nucleus.models import create_model, registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.retraining import comparison
from tests.edits.folder import picture
from tests.tissue import TYPES, tissue, write_dataset
from tests.training.tiny import Tiny


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a small picture of tissue, and a home of its own."""
    for part in ("data", "cache"):
        monkeypatch.setattr(platformdirs, f"user_{part}_path", lambda *_: tmp_path / "home")
    monkeypatch.setitem(registry._BUILDERS, "tiny", Tiny)
    monkeypatch.setattr(comparison, "colon", lambda: picture(96, 96, 0.5))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = {name: tissue(160, 160, seed, 3e-3) for seed, name in enumerate("abcd")}
    return write_dataset(tmp_path / "made", images)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """An untrained model."""
    torch.manual_seed(3)
    model = create_model("tiny", TYPES)
    model.mpp = 0.5
    model.instances = {"np_threshold": 0.45}
    model.card = {"licence": "CC0", "credit": "A. Nonymous"}
    save_checkpoint(tmp_path / "start.safetensors", model)
    return tmp_path / "start.safetensors"
