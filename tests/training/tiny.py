"""A network that is trained in no time, a recipe for it, and what its runs leave behind."""

import csv
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_nucleus.models import NucleusModel
from napari_nucleus.training.recipe import Phase, Recipe
from tests.tissue import Decoder

SHORT = Recipe(
    model="tiny",
    patch=32,
    warmup=2,
    ema=0.5,
    epoch=4,
    validate_every=1,
    phases=(Phase(epochs=2, batch=2),),
)
"""Two steps in each of two epochs."""


class Tiny(NucleusModel):
    """One convolution for an encoder, and one for every branch.

    Parameters
    ----------
    norm
        Whether the encoder normalises batches, which differ from process to process.
    """

    def __init__(self, types: tuple[str, ...], pretrained: bool = False, norm: bool = True) -> None:
        super().__init__(types, {"norm": norm})
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()
        )
        self.np = nn.Conv2d(8, 2, 1)
        self.hv = nn.Conv2d(8, 2, 1)
        self.tp = nn.Conv2d(8, len(types) + 1, 1) if types else None

    def encode(self, images: Tensor) -> list[Tensor]:
        return [self.encoder(images)]

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        branches = {"np": self.np, "hv": self.hv, "tp": self.tp}
        return {key: of(features[0]).float() for key, of in branches.items() if of is not None}

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = {"np": logits["np"].softmax(1)[:, 1], "hv": logits["hv"]}
        if "tp" in logits:
            maps["tp"] = logits["tp"][:, 1:].argmax(1).to(torch.uint8) + 1
        return maps

    find = Decoder.find
    postprocessing = Decoder.postprocessing


def weights_of(out: Path) -> dict[str, Tensor]:
    """The weights of a run, their average and the optimizer's moments."""
    state = torch.load(out / "state.pt", weights_only=True)
    moments = state["optimizer"]["state"] if state["optimizer"] else {}
    return {
        **{f"model.{key}": value for key, value in state["model"].items()},
        **{f"average.{key}": value for key, value in (state["average"] or {}).items()},
        **{f"{i}.{key}": value for i, of in moments.items() for key, value in of.items()},
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether weights are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def log_of(out: Path) -> list[dict[str, str]]:
    """The rows of a run's log."""
    with (out / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
