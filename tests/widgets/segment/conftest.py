"""A network that waits, so that a test can look at a run while it goes on."""

from collections.abc import Iterator
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest
import torch

from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from tests.tissue import Decoder

SIDE = 160
"""Of its tiles, in pixels."""


class Turnstile:
    """Lets tiles through to a network one by one, and keeps those that were."""

    def __init__(self) -> None:
        self._open = Semaphore(0)
        self.tiles: list[torch.Tensor] = []

    def let(self, tiles: int) -> None:
        self._open.release(tiles)

    def close(self) -> None:
        while self._open.acquire(blocking=False):
            pass


@pytest.fixture
def turnstile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turnstile]:
    """Return what holds the network `gated.safetensors`, which is like `Decoder`."""
    turnstile = Turnstile()

    class Gated(Decoder):
        tile, margin = SIDE, 32

        def predict(self, images: torch.Tensor) -> list[dict[str, np.ndarray]]:
            turnstile._open.acquire()
            turnstile.tiles.extend(images)
            return super().predict(images)

    def build(types: tuple[str, ...], pretrained: bool, mpp: float) -> NucleusModel:
        return Gated(types, mpp)

    monkeypatch.setitem(_BUILDERS, "gated", build)
    gated = Gated()
    gated.name = "gated"
    save_checkpoint(tmp_path / "gated.safetensors", gated)
    yield turnstile
    turnstile.let(1000)
