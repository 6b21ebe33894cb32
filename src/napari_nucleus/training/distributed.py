"""On which devices, in how many processes and how precisely a model is trained."""

import os
from typing import TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import distributed, nn

from napari_nucleus.models.devices import half_precision, pick_device

T = TypeVar("T")


def is_leader() -> bool:
    """Return whether this process writes and reports: the only one, or the first of torchrun's."""
    return os.environ.get("RANK", "0") == "0"


def start_fabric(device: str | None = None) -> Fabric:
    """Join the processes that torchrun has started, or take one device, and launch nothing.

    Parameters
    ----------
    device : str or None
        As `devices.pick_device` takes it; under torchrun only its type counts.
    """
    chosen = pick_device(device)
    precision = _precision(chosen)
    if not distributed.is_torchelastic_launched():
        # named, so that a cluster's variables around a notebook are not taken for a launch
        alone = LightningEnvironment()
        here: list[int] | int = [chosen.index or 0] if chosen.type == "cuda" else 1
        return Fabric(accelerator=chosen.type, devices=here, plugins=[precision, alone])
    local, world = (int(os.environ[key]) for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    fabric = Fabric(
        accelerator=chosen.type,
        devices=local,
        num_nodes=world // local,
        strategy="ddp",
        plugins=precision,
    )
    fabric.launch()
    return fabric


def _precision(device: torch.device) -> Precision:
    half = half_precision(device)
    if half is None:
        return Precision()
    return MixedPrecision("16-mixed" if half == torch.float16 else "bf16-mixed", device.type)


def share_statistics(model: nn.Module) -> None:
    """Give every process the leader's buffers: without a GPU each has its own batch statistics.

    Parameters
    ----------
    model : nn.Module
        The same model in every process.
    """
    if distributed.is_initialized():
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def gather(part: list[T]) -> list[T]:
    """Return the lists of all processes as one, in each of them.

    Parameters
    ----------
    part : list
        The list of this process.
    """
    if not distributed.is_initialized():
        return part
    parts: list[list[T]] = [[] for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, part)
    return [item for one in parts for item in one]
