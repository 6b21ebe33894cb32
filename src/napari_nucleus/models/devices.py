"""Devices: which there are, how precisely they compute, and what they cannot compute."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from napari_nucleus.errors import UserError

_log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
R = TypeVar("R")


def list_devices() -> dict[str, str]:
    """Return the devices of this machine, the preferred one first.

    Returns
    -------
    dict of str to str
        Name for PyTorch by name for the user: NVIDIA's GPUs, Apple's, and the CPU.
    """
    gpus = {}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = torch.cuda.get_device_name(index)
        gpus[f"{name} ({index})" if name in gpus else name] = f"cuda:{index}"
    if torch.backends.mps.is_available():
        gpus["Apple GPU"] = "mps"
    return {**gpus, "CPU": "cpu"}


def pick_device(name: str | None = None) -> torch.device:
    """Return the device of that name, or the best one there is.

    Parameters
    ----------
    name : str or None
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, …; None takes the GPU where there is one.

    Raises
    ------
    UserError
        If there is no such device.
    """
    if name is None:
        return torch.device(next(iter(list_devices().values())))
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # it asserts where PyTorch was built without CUDA, and lacks the operation for other devices
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"The device {name!r} cannot be used here: choose one of "
            f"{', '.join(list_devices().values())}, or leave it out to take the first of them.",
            setting="device",
        ) from error
    return device


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the half precision that a device is faster in than in float32.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    torch.dtype or None
        bfloat16 on GPUs and CPUs that compute in it, float16 on older GPUs; None on all other
        devices, where conversions would cost more than they save.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return None


def _cpu_has_bf16() -> bool:
    """Return whether the CPU has instructions for bfloat16, which PyTorch otherwise emulates."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the memory layout of images and kernels that convolutions are fastest in.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    torch.memory_format
        Channels last; on Apple's GPU contiguous, where in-place operations on other layouts, as
        those of optimizers, have silently done nothing.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def with_cpu_fallback(
    method: Callable[Concatenate[M, P], R],
) -> Callable[Concatenate[M, P], R]:
    """Make a module continue on the CPU where its device lacks an operation.

    Parameters
    ----------
    method : callable
        Method of a module that computes on the module's device.

    Returns
    -------
    callable
        The same method. Where PyTorch has not implemented an operation for the device, it logs one
        line, moves the module to the CPU, and computes there.
    """

    @wraps(method)
    def on_either(self: M, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except NotImplementedError as error:
            device = next(self.parameters()).device
            if device.type == "cpu":
                raise
            reason = str(error).partition(". ")[0]
            _log.warning("Continuing on the CPU, because %s lacks an operation: %s", device, reason)
            self.to("cpu")
            return method(self, *args, **kwargs)

    return on_either
