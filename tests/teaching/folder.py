"""A result whose nuclei lie on a grid, of two kinds that differ in colour."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_nucleus.measure import measure
from napari_nucleus.results import Result, ResultWriter
from napari_nucleus.slides import Slide, slide_from_arrays
from tests.tissue import Decoder

MPP = 0.25
SIDE, PITCH = 10, 24
COLORS = {"dark": (60, 30, 90), "pale": (180, 150, 200)}


class Colours(Decoder):
    """Its features are the colours of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = "c0" * 32
        self.eval()

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        self.seen = getattr(self, "seen", 0) + 1
        return super().decode(features, size)


def kinds(rows: int, columns: int) -> np.ndarray:
    """The kind (rows * columns,) of each nucleus: the left half is dark, but for every tenth."""
    left = np.arange(rows * columns) % columns < columns // 2
    return np.where(left ^ (np.arange(rows * columns) % 10 == 0), "dark", "pale")


def picture(rows: int, columns: int, name: str, seed: int = 0) -> tuple[Slide, np.ndarray]:
    """Return an image and the labels of its nuclei, numbered row by row."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
    square = np.zeros((PITCH, PITCH), int)
    square[7 : 7 + SIDE, 7 : 7 + SIDE] = 1
    labels = np.kron(numbers, square).astype(np.int32)
    palette = np.array([(235, 210, 230), *(COLORS[kind] for kind in kinds(rows, columns))])
    noise = rng.normal(0, 10, (*labels.shape, 3))
    pixels = (palette[labels] + noise).clip(0, 255).astype(np.uint8)
    return slide_from_arrays([pixels], MPP, name), labels


def write_result(path: Path, rows: int = 10, columns: int = 14, seed: int = 0) -> Result:
    """Write a result whose image is a file beside it; all nuclei are of the type "nucleus"."""
    import tifffile

    from napari_nucleus.slides import open_slide

    slide, labels = picture(rows, columns, path.stem, seed)
    file = path.with_name(f"{path.stem}.tif")
    pixels = slide.read(0, 0, labels.shape[1], labels.shape[0])
    tifffile.imwrite(file, pixels, resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit=3)
    slide = open_slide(file)
    run = {
        "source": slide.source(),
        "model": {"name": "other", "sha256": "", "mpp": MPP, "types": []},
        "options": {},
        "device": "cpu",
    }
    with ResultWriter(path, labels.shape, MPP, {"nucleus": "#2fbaff"}, run) as writer:
        writer.write_labels(0, 0, labels)
        writer.append(measure(labels, pixels, MPP).assign(type="nucleus", type_prob=0.9))
        return writer.finish(seconds={})


def whole(network: Colours, slide: Slide, labels: np.ndarray) -> np.ndarray:
    """Return the features of all nuclei of an image, seen at once."""
    height, width = labels.shape
    pixels = torch.from_numpy(slide.read(0, 0, width, height).copy()).movedim(-1, 0)
    (maps,) = network.predict(pixels[None])
    return network.features(labels, maps)
