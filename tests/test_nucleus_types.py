"""Colours of the types, as seen with normal vision and with red-green blindness."""

import numpy as np
import pytest
from numpy.typing import ArrayLike
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_nucleus.nucleus_types import _KNOWN, spare_color, type_colors

# Machado, Oliveira & Fernandes (2009), severity 1, and Viénot, Brettel & Mollon (1999): linear RGB
# as normally seen to linear RGB as seen by people without one kind of cones.
SIMULATIONS: dict[str, ArrayLike] = {
    "normal": np.eye(3),
    "protan, Machado": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan, Machado": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protan, Viénot": [
        [0.11238, 0.88762, 0.0],
        [0.11238, 0.88762, 0.0],
        [0.00401, -0.00401, 1.0],
    ],
    "deutan, Viénot": [
        [0.29275, 0.70725, 0.0],
        [0.29275, 0.70725, 0.0],
        [-0.02234, 0.02234, 1.0],
    ],
}
TISSUE = ("#e7bcd3", "#d9a0c0", "#7a5a9c")  # eosin, pale and strong, and a stained nucleus


def palette(count: int) -> list[str]:
    """Return the colours of the known types and of those that a user adds to them."""
    colors = dict(_KNOWN)
    while len(colors) < count:
        colors[f"added {len(colors)}"] = spare_color("added", colors.values())
    return list(colors.values())


def differences(colors: list[str], matrix: ArrayLike) -> np.ndarray:
    """Return CIEDE2000 between colours as they are seen, (N, N)."""
    rgb = np.array([list(bytes.fromhex(color[1:])) for color in colors]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(matrix).T, 0, 1)
    seen = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    return np.asarray(deltaE_ciede2000(lab[:, None], lab[None]))


@pytest.mark.parametrize("vision", SIMULATIONS)
def test_any_two_types_can_be_told_apart(vision: str) -> None:
    colors = palette(9)
    pairs = differences(colors, SIMULATIONS[vision])[np.triu_indices(len(colors), 1)]
    assert pairs.min() >= 15


@pytest.mark.parametrize("vision", SIMULATIONS)
def test_every_type_stands_out_from_tissue(vision: str) -> None:
    colors = palette(9)
    assert differences([*colors, *TISSUE], SIMULATIONS[vision])[:9, 9:].min() >= 12


def test_types_of_any_names_have_different_colours() -> None:
    names = ["mitosis", "spindle", "tumour", "stroma", "plasma", "fat", "nerve", "vessel", "other"]
    colors = type_colors(names)
    assert len(set(colors.values())) == len(names)
    assert colors["spindle"] == _KNOWN["spindle"]
    assert len(type_colors([str(number) for number in range(30)])) == 30
