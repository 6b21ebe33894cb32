"""Report of an evaluation: scores with 95 % intervals, per dataset, class and image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_nucleus.metrics.aggregate import ImageScore, score_sets
from napari_nucleus.metrics.bootstrap import interval, resample


def report(images: Sequence[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    """Report the scores of images, together and apart.

    Parameters
    ----------
    images : sequence of ImageScore
        At least one.
    types : sequence of str
        Names of the types that were scored.

    Returns
    -------
    dict
        Of all images together ``images``, their number; the scores that `scoring.score_sets` has
        as one number; ``ci95``, of each the 95 % interval ``[low, high]`` by bootstrap over images.
        Where types are annotated also ``f1`` by type, and ``per_class``: by type the number of
        nuclei ``annotated`` and ``predicted``, ``f1``, ``pq`` and their ``ci95``.
        ``per_dataset`` holds the same for every dataset. ``per_image`` is a list of scores with
        ``dataset`` and ``name``. A score that is not defined is NaN.
    """
    datasets = dict.fromkeys(image.dataset for image in images)
    return {
        **_of_set(images, types),
        "per_dataset": {
            name: _of_set([image for image in images if image.dataset == name], types)
            for name in datasets
        },
        "per_image": _of_each(images, types),
    }


def _of_set(images: Sequence[ImageScore], types: Sequence[str]) -> dict[str, Any]:
    count = len(images)
    sets = score_sets(images, np.concatenate([np.ones((1, count)), resample(count)]))
    scores = {key: values[0] for key, values in sets.items()}
    ends = {key: interval(values[1:]) for key, values in sets.items()}
    single = [key for key, value in scores.items() if value.ndim == 0]
    found: dict[str, Any] = {"images": count}
    found |= {key: float(scores[key]) for key in single}
    found["ci95"] = {key: ends[key].tolist() for key in single}
    if "f1" in scores:
        counts = [image.types.counts for image in images if image.types]
        annotated = np.sum([one.annotated for one in counts], axis=0)
        predicted = np.sum([one.predicted for one in counts], axis=0)
        found["f1"] = dict(zip(types, scores["f1"].tolist(), strict=True))
        found["per_class"] = {
            name: {
                "annotated": int(annotated[i]),
                "predicted": int(predicted[i]),
                "f1": float(scores["f1"][i]),
                "pq": float(scores["type_pq"][i]),
                "ci95": {"f1": ends["f1"][:, i].tolist(), "pq": ends["type_pq"][:, i].tolist()},
            }
            for i, name in enumerate(types)
        }
    return found


def _of_each(images: Sequence[ImageScore], types: Sequence[str]) -> list[dict[str, Any]]:
    """Return the scores of every image as those of a data set of its own."""
    sets = score_sets(images, np.eye(len(images)))
    single = [key for key, values in sets.items() if values.ndim == 1]
    rows: list[dict[str, Any]] = []
    for i, image in enumerate(images):
        row: dict[str, Any] = {"dataset": image.dataset, "name": image.name}
        row |= {key: float(sets[key][i]) for key in single}
        if "f1" in sets:
            row["f1"] = dict(zip(types, sets["f1"][i].tolist(), strict=True))
        rows.append(row)
    return rows
