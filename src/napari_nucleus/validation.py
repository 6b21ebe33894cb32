"""Scores of a model on samples held in memory, at the model's own resolution."""

from typing import Any

import numpy as np
import torch

from napari_nucleus.datasets import Sample
from napari_nucleus.metrics import score_pair
from napari_nucleus.models import NucleusModel


def validate(model: NucleusModel, samples: list[Sample]) -> dict[str, Any]:
    """Score a model on annotated images.

    Parameters
    ----------
    model
        In evaluation mode.
    samples
        At the model's µm/px.

    Returns
    -------
    dict
        ``datasets``: mean scores by dataset; ``score``: the mean AJI over datasets.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for sample in samples:
        image = torch.from_numpy(sample.image.copy()).movedim(-1, 0)[None]
        labels, _ = model.nuclei(model.predict(image)[0])
        rows.setdefault(sample.dataset, []).append(score_pair(sample.labels, labels))
    means = {
        name: {key: float(np.nanmean([r[key] for r in row])) for key in row[0]}
        for name, row in rows.items()
    }
    return {"score": float(np.mean([m["aji"] for m in means.values()])), "datasets": means}
