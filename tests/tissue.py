"""Synthetic tissue whose nuclei are known, and a network that reads them off its pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import tifffile
from PIL import Image
from torch import Tensor, nn, stack, zeros

from napari_nucleus.instances import HOVER, hover_instances
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.pooling import feature_cells

TYPES = ("dark", "pale")


@dataclass(frozen=True)
class Tissue:
    """Ellipses, some of which touch.

    Attributes
    ----------
    labels
        Int32 (H, W), nuclei are 1 to N.
    types
        (N,), the type of each.
    """

    labels: np.ndarray
    types: np.ndarray

    def coded(self) -> np.ndarray:
        """Return an image that tells `Decoder` everything: red the type, green and blue HV."""
        image = np.full((*self.labels.shape, 3), (255, 128, 128), np.uint8)
        for label, kind in enumerate(self.types, 1):
            y, x = np.nonzero(self.labels == label)
            image[y, x, 0] = 40 * TYPES.index(kind)
            for channel, axis in ((1, x), (2, y)):
                centred = axis - axis.mean()
                image[y, x, channel] = np.rint(128 + 100 * centred / np.abs(centred).max())
        return image

    def stained(self, seed: int = 0) -> np.ndarray:
        """Return an image as H&E looks, by and large."""
        rng = np.random.default_rng(seed)
        colors = {"": (236, 190, 215), "dark": (90, 50, 140), "pale": (150, 110, 180)}
        palette = np.array([colors[name] for name in ("", *self.types)])
        noise = rng.normal(0, 6, (*self.labels.shape, 3))
        return (palette[self.labels] + noise).clip(0, 255).astype(np.uint8)


def tissue(height: int, width: int, seed: int = 0, density: float = 4e-3) -> Tissue:
    """Place ellipses of 14 to 30 px at random; where one would cover another, it is left out."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    y, x = np.mgrid[:height, :width]
    count = 0
    for _ in range(int(height * width * density)):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        a, b, angle = rng.uniform(7, 15), rng.uniform(7, 15), rng.uniform(0, np.pi)
        box = (
            slice(max(int(cy) - 16, 0), int(cy) + 17),
            slice(max(int(cx) - 16, 0), int(cx) + 17),
        )
        v, u = y[box] - cy, x[box] - cx
        along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
        inside = (along / a) ** 2 + (across / b) ** 2 < 1
        if inside.sum() > 100 and not labels[box][inside].any():
            count += 1
            labels[box][inside] = count
    return Tissue(labels, rng.choice(TYPES, count))


def distances(labels: np.ndarray) -> np.ndarray:
    """Compute distance maps (2, H, W) by their definition, nucleus by nucleus."""
    maps = np.zeros((2, *labels.shape))
    for number in np.unique(labels[labels > 0]):
        y, x = np.nonzero(labels == number)
        for channel, axis in enumerate((x, y)):
            offset = axis - axis.mean()
            for side in (offset < 0, offset > 0):
                if side.any():
                    maps[channel, y[side], x[side]] = offset[side] / np.abs(offset[side]).max()
    return maps


def write_dataset(folder: Path, images: dict[str, Tissue], coded: bool = False) -> Path:
    """Write a dataset folder with types."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed, (name, made) in enumerate(images.items()):
        pixels = made.coded() if coded else made.stained(seed)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        tifffile.imwrite(folder / "labels" / f"{name}.tif", made.labels.astype(np.uint16))
        table = pd.DataFrame({"label": range(1, len(made.types) + 1), "type": made.types})
        table.to_csv(folder / "labels" / f"{name}.csv", index=False)
    return folder


N = TypeVar("N", bound=NucleusModel)


def tiled(network: N, side: int, margin: int = 64) -> N:
    """Return the network with tiles of another size: small ones put nuclei onto many seams."""
    network.tile, network.margin = side, margin
    return network


class Decoder(NucleusModel):
    """Reads the maps off the pixels of `Tissue.coded`, each from its own pixel alone."""

    postprocessing = HOVER

    def __init__(self, types: tuple[str, ...] = TYPES, mpp: float = 0.25) -> None:
        super().__init__(types, {"mpp": mpp})
        self.name = "decoder"
        self.mpp = mpp
        self.instances = {"sobel_size": 9, "marker_threshold": 0.5}
        self.weight = nn.Parameter(zeros(1))

    def encode(self, images: Tensor) -> list[Tensor]:
        return [images]

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        red, green, blue = (features[0] * 255).unbind(1)
        nucleus = (255 - red) / 255
        return {
            "np": stack([1 - nucleus, nucleus], 1),
            "hv": (stack([green, blue], 1) - 128) / 100,
            "tp": (red > 20).long(),
            "features": feature_cells(features[0], size),
        }

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = {"np": logits["np"][:, 1], "hv": logits["hv"], "tp": logits["tp"] + 1}
        return {**maps, "features": logits["features"].half()}

    def find(
        self, maps: dict[str, np.ndarray], threshold: float | None = None
    ) -> tuple[np.ndarray, pd.DataFrame]:
        arguments = self.postprocessing_arguments(threshold)
        labels, table = hover_instances(maps["np"], maps["hv"], maps["tp"], **arguments)
        table["type"] = np.array(self.types, dtype=object)[table["type"].to_numpy() - 1]
        return labels, table


class Moody(Decoder):
    """Sees what is in a window moved by up to 4 px, another way in every window."""

    def predict(self, images: Tensor) -> list[dict[str, np.ndarray]]:
        moves = [int(image.long().sum()) % 9 - 4 for image in images]
        moved = [
            image.roll((move, -move), (1, 2)) for image, move in zip(images, moves, strict=True)
        ]
        return super().predict(stack(moved))
