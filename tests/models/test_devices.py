"""Which devices there are, how precisely they compute, and what they cannot compute."""

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from napari_nucleus.errors import UserError
from napari_nucleus.models.devices import (
    half_precision,
    list_devices,
    memory_format,
    pick_device,
    with_cpu_fallback,
)
from napari_nucleus.training.distributed import start_fabric
from tests.tissue import Decoder

CPU, MPS = torch.device("cpu"), torch.device("mps")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], bool], None]:
    """Pretend that a machine has these GPUs."""

    def pretend(cuda: list[str], mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cuda))
        monkeypatch.setattr(torch.cuda, "get_device_name", cuda.__getitem__)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, bool], None]:
    """Pretend that the CPU has instructions for bfloat16, or has none."""

    def pretend(avx: bool, amx: bool) -> None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "listed"),
    [
        ([], False, {"CPU": "cpu"}),
        ([], True, {"Apple GPU": "mps", "CPU": "cpu"}),
        (["A"], False, {"A": "cuda:0", "CPU": "cpu"}),
        (["A", "A"], True, {"A": "cuda:0", "A (1)": "cuda:1", "Apple GPU": "mps", "CPU": "cpu"}),
    ],
)
def test_the_first_device_of_the_list_is_chosen(
    machine: Callable, cuda: list[str], mps: bool, listed: dict[str, str]
) -> None:
    machine(cuda, mps)
    assert list_devices() == listed
    assert list(list_devices()) == list(listed)
    assert pick_device() == torch.device(next(iter(listed.values())))


@pytest.mark.parametrize("name", ["mps", "cuda:77", "tpu", "xpu", "meta device"])
def test_device_that_is_not_there_is_refused(machine: Callable, name: str) -> None:
    machine([], False)
    with pytest.raises(UserError, match=f"'{name}' cannot be used here: choose one of cpu, or"):
        pick_device(name)


@pytest.mark.parametrize(
    ("avx", "amx", "dtype"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ],
)
def test_cpu_computes_in_half_precision_if_it_has_instructions_for_it(
    bf16: Callable, avx: bool, amx: bool, dtype: torch.dtype
) -> None:
    bf16(avx, amx)
    seen: list[torch.dtype] = []

    class Seen(Decoder):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(torch.nn.functional.conv2d(images, torch.ones(1, 3, 1, 1)).dtype)
            return super().forward(images)

    Seen().eval().predict(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    fabric = start_fabric("cpu")
    with fabric.autocast():
        seen.append(torch.ones(2, 2).mm(torch.ones(2, 2)).dtype)
    assert seen == [dtype, dtype]


def test_half_precision_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older GPUs only emulate bfloat16, of which PyTorch says that it is supported."""
    cuda = torch.device("cuda")
    for native, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda emulated=True, n=native: n or emulated
        )
        assert half_precision(cuda) == dtype
    assert half_precision(MPS) is None


def test_memory_format() -> None:
    assert memory_format(CPU) == torch.channels_last
    assert memory_format(MPS) == torch.contiguous_format


class Elsewhere(torch.nn.Module):
    """A module on a device that cannot compute; ``meta`` stands for it."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, device=device))

    def to(self, *args: Any, **kwargs: Any) -> Any:
        self.weight = torch.nn.Parameter(torch.ones(1, device=args[0]))
        return self

    @with_cpu_fallback
    def twice(self, number: int, works: bool = True) -> int:
        """Twice the number."""
        if self.weight.is_meta or not works:
            raise NotImplementedError("The operator 'aten::x' is not there. Please wait.")
        return 2 * number


def test_unsupported_operation_falls_back_to_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    module = Elsewhere("meta")
    with caplog.at_level(logging.WARNING):
        assert [module.twice(2), module.twice(number=3)] == [4, 6]
    assert module.weight.device == CPU
    assert [record.getMessage() for record in caplog.records] == [
        "Continuing on the CPU, because meta lacks an operation: "
        "The operator 'aten::x' is not there"
    ]
    with pytest.raises(NotImplementedError):
        Elsewhere("cpu").twice(1, works=False)
    assert Elsewhere.twice.__doc__ == "Twice the number."


def test_apple_falls_back_operation_by_operation() -> None:
    """PyTorch reads the switch when it is loaded."""
    code = (
        "import os, sys, napari_nucleus; assert 'torch' not in sys.modules; "
        "print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
