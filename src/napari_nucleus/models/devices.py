"""Devices and their half precision."""

import torch

from napari_nucleus.errors import UserError


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
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # it asserts where it was built without CUDA
        raise UserError(
            f"The device {name!r} cannot be used here: choose cpu, or leave it out to take the GPU "
            "where there is one."
        ) from error
    return device


def autocast_dtype(device: torch.device) -> torch.dtype:
    """Return the half precision that `device` is fast in.

    Parameters
    ----------
    device : torch.device
        The device.

    Returns
    -------
    torch.dtype
        bfloat16, or float16 on GPUs without it.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16
