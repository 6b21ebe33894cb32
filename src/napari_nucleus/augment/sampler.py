"""Sampling of training patches by dataset, area and type of nuclei."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from napari_nucleus.datasets import Sample
from napari_nucleus.errors import UserError
from napari_nucleus.measure import label_runs
from napari_nucleus.models.batch import Crops
from napari_nucleus.nucleus_types import UNKNOWN

Sampling = Literal["random", "uniform", "type_aware"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)

_HIGHEST = 20.0
"""Highest weight of a rare type, where none is given."""


class PatchSampler:
    """Draws patches from a grid over annotated images.

    Patches half a patch apart cover every image. Each has a dominant type: the one of most nuclei
    whose centre lies in it (Chen et al. 2025, equation 11); without a nucleus of known type it
    has none. Datasets are drawn by their share, and within a dataset:

    - ``"random"``: images by their area, patches by how much of theirs is not ignored;
    - ``"uniform"``: every dominant type equally often; patches that have none as at random;
    - ``"type_aware"``: in proportion to the weight of the dominant type. Where no weights are
      given, a type weighs as many times more as its nuclei are rarer than the commonest type's, up
      to 20 times.

    A dataset without types is drawn from at random. What is drawn is then moved by up to a quarter
    of a patch to any side, within the image.

    Parameters
    ----------
    samples : sequence of Sample
        Annotated images at one resolution.
    shares : mapping of str to float
        Dataset name to its share of the patches, relative to the others.
    patch : int
        Side of a patch in pixels.
    sampling : Sampling
        ``"random"``, ``"uniform"`` or ``"type_aware"``.
    type_weights : mapping of int to float or None
        Type index to how many times more often ``"type_aware"`` draws patches that it dominates; 1
        for types that are not named. Empty weighs by frequency.
    margin : int
        Pixels that are cut around a patch, from which the augmentation turns and enlarges it.
    jitter : bool
        Whether patches leave their place in the grid.

    Raises
    ------
    UserError
        If no dataset that is annotated has a share.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        shares: Mapping[str, float],
        patch: int,
        sampling: Sampling = "type_aware",
        type_weights: Mapping[int, float] | None = None,
        margin: int = 0,
        jitter: bool = True,
    ) -> None:
        self.samples = samples
        self.patch = patch
        self.margin = margin
        self.jitter = jitter
        grids = [grid(sample.labels.shape, patch) for sample in samples]
        self.corners = np.concatenate(grids).astype(np.int32)
        self.image = np.repeat(np.arange(len(samples)), [len(corners) for corners in grids])
        if sampling == "random":
            dominant = [np.zeros(len(corners), np.uint8) for corners in grids]
        else:
            dominant = [
                dominant_types(sample, corners, patch)
                for sample, corners in zip(samples, grids, strict=True)
            ]
        self.dominant = np.concatenate(dominant)
        self.annotated = np.concatenate(
            [
                annotated_shares(sample, corners, patch)
                for sample, corners in zip(samples, grids, strict=True)
            ]
        )
        factors = np.ones(UNKNOWN + 1)
        if sampling == "type_aware":
            factors = _by_frequency(samples)
            if type_weights:
                factors = np.array([type_weights.get(i, 1.0) for i in range(UNKNOWN + 1)])
        self.weights = self._weights(shares, factors, even=sampling == "uniform")
        self._cumulative = np.cumsum(self.weights)

    def draw(self, items: Iterable[int], step: int, seed: int) -> Crops:
        """Cut patches.

        Parameters
        ----------
        items : iterable of int
            Their numbers within the step's batch. A patch depends on its own number, `step` and
            `seed` alone, so that a batch may be shared out among processes in any way.
        step : int
            Number of the training step.
        seed : int
            Of the training run.
        """
        images, labels, types, doubtful, names = zip(
            *(self._cut(np.random.default_rng((seed, step, item))) for item in items), strict=True
        )
        return Crops(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(labels)),
            pad_sequence(types, batch_first=True),
            pad_sequence(doubtful, batch_first=True),
            names,
        )

    def _cut(
        self, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, torch.Tensor, torch.Tensor, str]:
        point = rng.random() * self._cumulative[-1]
        drawn = int(np.searchsorted(self._cumulative, point, side="right"))
        sample = self.samples[self.image[drawn]]
        y, x = self.corners[drawn]
        if self.jitter:
            y, x = (
                self._moved(int(start), length, rng)
                for start, length in zip((y, x), sample.labels.shape, strict=True)
            )
        side = self.patch + 2 * self.margin
        corner = (int(y) - self.margin, int(x) - self.margin)
        labels = _window(sample.labels, corner, side, cv2.BORDER_CONSTANT)
        if sample.ignored is not None:
            ignored = sample.ignored.view(np.uint8)
            unknown = _window(ignored, corner, side, cv2.BORDER_REPLICATE) > 0
            labels[unknown & (labels == 0)] = -1
        return (
            _window(sample.image, corner, side, cv2.BORDER_REPLICATE),
            labels,
            torch.from_numpy(sample.types),
            torch.from_numpy(sample.doubtful),
            f"{sample.dataset}/{sample.name}",
        )

    def _moved(self, start: int, length: int, rng: np.random.Generator) -> int:
        if length <= self.patch:
            return start
        low, high = start - self.patch // 4, start + self.patch // 4
        return int(rng.integers(max(low, 0), min(high, length - self.patch) + 1))

    def _weights(
        self, shares: Mapping[str, float], factors: NDArray[np.float64], even: bool
    ) -> NDArray[np.float64]:
        """Return how often every patch of the grid is drawn; all together 1."""
        areas = np.array([sample.labels.size for sample in self.samples], float)
        counts = np.bincount(self.image)
        weights = (areas / counts)[self.image] * self.annotated
        names, index = np.unique([sample.dataset for sample in self.samples], return_inverse=True)
        dataset = index[self.image]
        for i, name in enumerate(names.tolist()):
            own = dataset == i
            if not weights[own].any():
                continue
            dominant = self.dominant[own]
            part = weights[own] / weights[own].sum()
            if even:
                mass = np.bincount(dominant, part, UNKNOWN + 1)
                known = mass[1:] > 0
                factors = np.ones(UNKNOWN + 1)
                factors[1:][known] = mass[1:].sum() / known.sum() / mass[1:][known]
            part = part * factors[dominant]
            weights[own] = shares[name] * part / part.sum()
        if not weights.any():
            raise UserError(
                "There is no patch to draw: give a dataset with annotated tissue a share above 0."
            )
        return weights / weights.sum()


def grid(shape: tuple[int, ...], patch: int) -> NDArray[np.int64]:
    """Return the corners (y, x) of patches that cover an image, half a patch apart or less.

    An image that is smaller than a patch lies in the middle of one.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image, pixels.
    patch : int
        Side of the patches, pixels.
    """
    axes = []
    for length in shape:
        room = length - patch
        count = math.ceil(2 * room / patch) + 1
        axes.append(np.rint(np.linspace(0, room, count)) if room > 0 else np.array([room // 2]))
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2).astype(np.int64)


def annotated_shares(sample: Sample, corners: NDArray[np.int64], patch: int) -> NDArray[np.float64]:
    """Return how much of what each patch holds of the image is not ignored, from 0 to 1.

    Parameters
    ----------
    sample : Sample
        The image.
    corners : (N, 2) ndarray of int64
        First row and column of each patch.
    patch : int
        Side of the patches, pixels.
    """
    if sample.ignored is None:
        return np.ones(len(corners))
    known = cv2.integral((~sample.ignored | (sample.labels > 0)).view(np.uint8))
    low, high = corners.clip(min=0), (corners + patch).clip(max=sample.labels.shape)
    (top, left), (bottom, right) = low.T, high.T
    area = (bottom - top) * (right - left)
    total = known[bottom, right] - known[top, right] - known[bottom, left] + known[top, left]
    return total / area


def dominant_types(sample: Sample, corners: NDArray[np.int64], patch: int) -> NDArray[np.uint8]:
    """Return the type of most nuclei in each patch; 0 where there is none of known type.

    Parameters
    ----------
    sample : Sample
        The image.
    corners : (N, 2) ndarray of int
        As by `grid`.
    patch : int
        Side of a patch in pixels.
    """
    types = np.unique(sample.types[(sample.types > 0) & (sample.types != UNKNOWN)])
    if not len(types):
        return np.zeros(len(corners), np.uint8)
    runs = label_runs(sample.labels)
    x0, y0, x1, y1 = runs.boxes.T
    known, centres = sample.types[runs.labels], np.stack([y0 + y1, x0 + x1]) / 2
    rows, columns = (
        _holds(np.unique(starts), patch, centre)
        for starts, centre in zip(corners.T, centres, strict=True)
    )
    counts = [(rows[:, known == t] @ columns[:, known == t].T).ravel() for t in types]
    return np.where(np.any(counts, axis=0), types[np.argmax(counts, axis=0)], 0).astype(np.uint8)


def _holds(
    starts: NDArray[np.int64], patch: int, centre: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return which intervals hold which centres, along one axis: (starts, centres)."""
    offset = centre - starts[:, None]
    return ((offset >= 0) & (offset < patch)).astype(np.float32)


def _by_frequency(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Return the weight of every type, from 1 for the commonest to `_HIGHEST`; 1 for no type."""
    counts = np.zeros(UNKNOWN + 1)
    for sample in samples:
        counts += np.bincount(sample.types, minlength=UNKNOWN + 1)
    counts[[0, UNKNOWN]] = 0
    return np.where(counts > 0, np.clip(counts.max() / np.maximum(counts, 1), 1, _HIGHEST), 1)


def _window(image: NDArray, corner: tuple[int, int], side: int, border: int) -> NDArray:
    """Cut a square, which may reach beyond the edges; constant borders are -1."""
    (top, left), (height, width) = corner, image.shape[:2]
    inside = image[max(top, 0) : top + side, max(left, 0) : left + side]
    above, before = max(-top, 0), max(-left, 0)
    below, after = max(top + side - height, 0), max(left + side - width, 0)
    return np.asarray(cv2.copyMakeBorder(inside, above, below, before, after, border, value=-1))
