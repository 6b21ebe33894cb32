"""Nuclei in words, and the words as a text encoder sees them."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHAPES = ("round", "oval", "elongated", "irregular")
# fmt: off
POSITIONS = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)
# fmt: on
SIZES = ("very small", "small", "medium", "large", "very large")

VOCABULARY = tuple(
    f"a label of {shape} cell nucleus located at {position} with {size} diameter"
    for shape, position, size in product(SHAPES, POSITIONS, SIZES)
)
"""All sentences there are, by the paper's pattern."""

_OVAL, _ELONGATED = 0.8, 0.5  # axis ratio below which a nucleus is no longer round, no longer oval
_IRREGULAR = 0.9  # solidity below which a nucleus is neither
_DIAMETERS = (5.0, 7.0, 9.0, 12.0)  # µm at which the next size begins
_AT_ONCE = 32


def lattice_coordinates(centroids: NDArray[np.floating], patch: int) -> NDArray[np.float32]:
    """Return where nuclei lie in a lattice whose cells are as large as the training patches.

    In the paper, coordinates are normalised by the patch. A slide has no such frame: normalised by
    its size, or by that of a tile, a coordinate would mean something else than it did in training.
    So a slide counts as patches laid side by side from its first pixel on, whatever the tiles are.

    Parameters
    ----------
    centroids : ndarray of floating
        (N, 2), x and y in pixels of the network, whose centres have whole coordinates.
    patch : int
        Side of the training patches in pixels.

    Returns
    -------
    ndarray
        (N, 2), x and y in [0, 1).
    """
    # Rounded up, what lies just before a cell's end would leave it.
    coordinates = ((centroids + 0.5) % patch / patch).astype(np.float32)
    return np.minimum(coordinates, np.nextafter(np.float32(1), np.float32(0)))


def sentences(
    centroids: NDArray[np.floating], shapes: NDArray[np.floating], mpp: float, patch: int
) -> list[str]:
    """Describe nuclei by shape, position and size.

    Parameters
    ----------
    centroids : ndarray of floating
        (N, 2), x and y in pixels of the network.
    shapes : ndarray of floating
        (N, 3), as `nucleus_shapes` returns them.
    mpp : float
        µm per pixel.
    patch : int
        As `lattice_coordinates` takes it; a position is a ninth of a cell of its lattice.

    Returns
    -------
    list of str
        One of `VOCABULARY` for every nucleus.

    Examples
    --------
    >>> sentences(np.array([[135.0, 20.0]]), np.array([[32.0, 0.95, 0.98]]), 0.25, 270)
    ['a label of round cell nucleus located at top with medium diameter']
    """
    diameter, ratio, solidity = np.asarray(shapes, np.float64).T
    shape = np.select(
        [solidity < _IRREGULAR, ratio < _ELONGATED, ratio < _OVAL],
        [SHAPES.index(word) for word in ("irregular", "elongated", "oval")],
        SHAPES.index("round"),
    )
    column, row = (lattice_coordinates(centroids, patch) * 3).astype(int).T
    size = np.digitize(diameter * mpp, _DIAMETERS)
    index = (shape * len(POSITIONS) + row * 3 + column) * len(SIZES) + size
    return [VOCABULARY[i] for i in index.tolist()]


class SentenceBank:
    """Text features of sentences, each encoded once.

    Parameters
    ----------
    encode : callable
        Text encoder that does not learn: M sentences become (M, width) features.
    width : int
        Number of features of a sentence.
    """

    def __init__(self, encode: Callable[[list[str]], Tensor], width: int = 512) -> None:
        self._encode = encode
        self._rows: dict[str, int] = {}
        self._features = torch.empty(0, width)

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Return the features of N sentences: (N, width), float32, on the encoder's device."""
        new = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._rows]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            with torch.no_grad():
                features = self._encode(some).float()
            self._features = torch.cat([self._features.to(features.device), features])
            self._rows |= {text: row for row, text in enumerate(some, len(self._rows))}
        rows = torch.tensor([self._rows[sentence] for sentence in sentences], dtype=torch.long)
        return self._features[rows.to(self._features.device)]
