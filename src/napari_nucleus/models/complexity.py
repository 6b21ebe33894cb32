"""Parameters and multiply-adds of the networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from napari_nucleus.models.registry import create_model

PATCH = 270
"""Side of the patch, in pixels, that the papers count for."""


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes
    ----------
    parameters : int
        Their number.
    gmac : float
        Multiply-adds in 1e9 for a patch of 270 px, as its paper computes it: HistoNeXt decodes the
        patch's centre.
    gmac_whole : float
        The same where all of the patch is decoded.
    """

    parameters: int
    gmac: float
    gmac_whole: float


def complexity(name: str, types: Iterable[str], **options: Any) -> Complexity:
    """Count a model's parameters and multiply-adds, without memory for either.

    Parameters
    ----------
    name : str
        As `create_model` takes it.
    types : iterable of str
        As `create_model` takes them.
    **options : Any
        As `create_model` takes them.

    Returns
    -------
    Complexity
        Of an image of 270 x 270 px.
    """
    with torch.device("meta"):
        model = create_model(name, types, pretrained=False, **options).eval()
        images = torch.empty(1, 3, PATCH, PATCH)
    gmac = []
    for forward in (getattr(model, "forward_centre", model), model):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            forward(images)
        gmac.append(counter.get_total_flops() / 2e9)
    return Complexity(sum(p.numel() for p in model.parameters()), *gmac)
