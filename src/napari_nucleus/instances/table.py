"""The first columns of the table of nuclei: label, type, place."""

from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from napari_nucleus.instances.components import Floats, Labels


def nucleus_table(labels: Labels, tp: NDArray[numpy.int32] | None) -> pandas.DataFrame:
    """Describe nuclei.

    Summed over a nucleus's runs in the rows, which are far fewer than its pixels.

    Parameters
    ----------
    labels : Labels
        (H, W), 0 is background.
    tp : ndarray[numpy.int32] | None
        (H, W), type of each pixel, 0 for background; None where there are no types.

    Returns
    -------
    DataFrame
        One row per nucleus in ascending order of ``label``: ``label``; ``type``, the most frequent
        one of its pixels (background only if no pixel has another); ``type_prob``, that type's
        share of the pixels; ``centroid_x, centroid_y``; the bounding box ``x0, y0, x1, y1``, half
        open. Pixels of the map. Without `tp`, ``type`` is 0 and ``type_prob`` NaN.
    """
    height, width = labels.shape
    starts_run = numpy.ones(labels.shape, bool)
    numpy.not_equal(labels[:, 1:], labels[:, :-1], out=starts_run[:, 1:])
    starts = numpy.flatnonzero(starts_run)
    lengths = numpy.diff(starts, append=labels.size)
    of = labels.ravel()[starts]
    starts, lengths, of = starts[of > 0], lengths[of > 0], of[of > 0]
    y, x = numpy.divmod(starts, width)

    label, row = numpy.unique(of, return_inverse=True)
    area = numpy.bincount(row, lengths)
    x0, y0 = numpy.full(len(label), width), numpy.full(len(label), height)
    x1, y1 = numpy.zeros_like(x0), numpy.zeros_like(y0)
    numpy.minimum.at(x0, row, x)
    numpy.minimum.at(y0, row, y)
    numpy.maximum.at(x1, row, x + lengths)
    numpy.maximum.at(y1, row, y + 1)
    sum_x = numpy.bincount(row, lengths * (x - x0[row]) + lengths * (lengths - 1) // 2)
    sum_y = numpy.bincount(row, lengths * (y - y0[row]))
    kind, share = _types(labels, label, area, tp)
    return pandas.DataFrame(
        {
            "label": label,
            "type": kind,
            "type_prob": share,
            "centroid_x": sum_x / area + x0,
            "centroid_y": sum_y / area + y0,
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
        }
    )


def _types(
    labels: Labels, label: Labels, area: NDArray[Any], tp: NDArray[numpy.int32] | None
) -> tuple[NDArray[Any], Floats]:
    if tp is None:
        return numpy.zeros(len(label), int), numpy.full(len(label), numpy.nan)
    # At least one type beside the background, or there is nothing to choose from.
    count = max(int(tp.max()) + 1, 2)
    votes = numpy.bincount((labels * count + tp).ravel(), minlength=(int(labels.max()) + 1) * count)
    votes = votes.reshape(-1, count)[label]
    kind = votes[:, 1:].argmax(axis=1) + 1
    kind[votes[:, 1:].max(axis=1) == 0] = 0
    # The reference's 1e-6, so that probabilities agree to the last digit.
    return kind, votes[numpy.arange(len(label)), kind] / (area + 1e-6)
