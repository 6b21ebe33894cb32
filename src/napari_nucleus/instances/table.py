"""The first columns of the table of nuclei: label, type, position."""

from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from napari_nucleus.instances.components import Floats, Labels
from napari_nucleus.measure import LabelRuns, label_runs


def nucleus_table(labels: Labels, tp: NDArray[numpy.int32] | None) -> pandas.DataFrame:
    """List nuclei with their types and positions.

    Parameters
    ----------
    labels : (H, W) ndarray of int32
        0 is background.
    tp : (H, W) ndarray of int32 or None
        Type of each pixel, 0 for background; None where there are no types.

    Returns
    -------
    DataFrame
        One row per nucleus in ascending order of ``label``: ``label``; ``type``, the most frequent
        one of its pixels (background only if no pixel has another); ``type_prob``, that type's
        share of the pixels; ``centroid_x, centroid_y``; the bounding box ``x0, y0, x1, y1``, half
        open. Pixels of the map. Without `tp`, ``type`` is 0 and ``type_prob`` NaN.
    """
    runs = label_runs(labels)
    types, share = _types(labels, runs, tp)
    x0, y0, x1, y1 = runs.boxes.T
    centroid_x, centroid_y = runs.centroids.T
    return pandas.DataFrame(
        {
            "label": runs.labels,
            "type": types,
            "type_prob": share,
            "centroid_x": centroid_x,
            "centroid_y": centroid_y,
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
        }
    )


def _types(
    labels: Labels, runs: LabelRuns, tp: NDArray[numpy.int32] | None
) -> tuple[NDArray[Any], Floats]:
    if tp is None:
        return numpy.zeros(runs.count, int), numpy.full(runs.count, numpy.nan)
    # At least one type beside the background, or there is nothing to choose from.
    count = max(int(tp.max()) + 1, 2)
    votes = numpy.bincount((labels * count + tp).ravel(), minlength=(int(labels.max()) + 1) * count)
    votes = votes.reshape(-1, count)[runs.labels]
    types = votes[:, 1:].argmax(axis=1) + 1
    types[votes[:, 1:].max(axis=1) == 0] = 0
    # The reference's 1e-6, so that probabilities agree to the last digit.
    return types, votes[numpy.arange(runs.count), types] / (runs.area + 1e-6)
