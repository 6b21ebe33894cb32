import pytest
import torch

from napari_nucleus.widgets.shared.device_choice import devices


def test_apples_gpu_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices() == {"Apple GPU": "mps", "CPU": "cpu"}
