"""Overlap of annotated and predicted nuclei, in pixels."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.errors import UserError

Ints = NDArray[np.int64]


class Overlap(NamedTuple):
    """Nuclei of two label images and the pairs of them that overlap, in ascending order.

    Attributes
    ----------
    true_labels, pred_labels, true_size, pred_size : (N,), (M,) array of int
        Label and pixels of each nucleus.
    true, pred, shared : (P,) array of int
        Indices into the above and pixels in common, for each pair.
    """

    true_labels: Ints
    pred_labels: Ints
    true_size: Ints
    pred_size: Ints
    true: Ints
    pred: Ints
    shared: Ints

    @classmethod
    def of(cls, true: ArrayLike, pred: ArrayLike) -> Self:
        """Return the overlap of two label images.

        Parameters
        ----------
        true, pred : (H, W) array of int
            Annotated and predicted labels, 0 = background; numbers may be missing.

        Returns
        -------
        Overlap
            Sizes of the nuclei, and shared pixels of each pair.

        Raises
        ------
        UserError
            If the shapes differ, or these are not labels.
        """
        true, pred = label_maps(true, pred)
        # One number per pair of labels. Counted over runs, which are far fewer than the pixels.
        base = int(pred.max(initial=0)) + 1
        pair = (true * base + pred).ravel()
        starts = np.flatnonzero(np.diff(pair, prepend=-1))
        pair, of_run = np.unique(pair[starts], return_inverse=True)
        pixels = np.zeros(len(pair), np.int64)
        np.add.at(pixels, of_run, np.diff(starts, append=true.size))

        true_labels, true_of = np.unique(pair // base, return_inverse=True)
        pred_labels, pred_of = np.unique(pair % base, return_inverse=True)
        true_size, pred_size = np.zeros_like(true_labels), np.zeros_like(pred_labels)
        np.add.at(true_size, true_of, pixels)
        np.add.at(pred_size, pred_of, pixels)
        # Background is the first label on a side that has any.
        true_first, pred_first = np.searchsorted(true_labels, 1), np.searchsorted(pred_labels, 1)
        both = (true_of >= true_first) & (pred_of >= pred_first)
        return cls(
            true_labels[true_first:],
            pred_labels[pred_first:],
            true_size[true_first:],
            pred_size[pred_first:],
            true_of[both] - true_first,
            pred_of[both] - pred_first,
            pixels[both],
        )


def label_maps(true: ArrayLike, pred: ArrayLike) -> tuple[Ints, Ints]:
    """Return annotation and prediction as int64, or refuse them.

    Parameters
    ----------
    true, pred : (H, W) array of int
        Labels or classes of pixels, from 0.

    Returns
    -------
    true, pred : (H, W) ndarray of int64
        The same.

    Raises
    ------
    UserError
        If the shapes differ, or they are not whole numbers from 0.
    """
    true, pred = np.asarray(true), np.asarray(pred)
    if true.shape != pred.shape:
        raise UserError(
            f"Annotation {true.shape} and prediction {pred.shape} must have the same shape."
        )
    for side in (true, pred):
        if side.dtype.kind not in "iub":
            raise UserError(f"Labels must be whole numbers, not {side.dtype}.")
        if side.min(initial=0) < 0:
            raise UserError(f"Labels must not be negative; the lowest is {side.min()}.")
    return true.astype(np.int64), pred.astype(np.int64)
