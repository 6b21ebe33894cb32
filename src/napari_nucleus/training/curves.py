"""The log of a training run as a figure."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_nucleus.files import replacing
from napari_nucleus.metrics import mean

_NO_LOSS = {"step", "epoch", "time", "seconds", "network_seconds", "scores"}
_BRANCHES = {"np": "nucleus (np)", "hv": "distance (hv)", "tp": "type (tp)"}
_SCORES = {"aji": "AJI", "pq": "PQ", "f1": "F1, mean over types"}
_COLORS = {
    "np": "#0072b2",
    "hv": "#e69f00",
    "tp": "#cc79a7",
    "aji": "#0072b2",
    "pq": "#009e73",
    "f1": "#cc79a7",
}
"""Okabe & Ito (2008), distinguishable with colour vision deficiency."""


def draw_curves(log: Path, path: Path) -> None:
    """Draw the losses of every branch and the validation scores over epochs.

    Parameters
    ----------
    log : Path
        The ``log.csv`` of a run; if it has no rows, nothing is drawn.
    path : Path
        PNG file.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    rows = read_log(log)
    if not rows:
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever else uses matplotlib
    left, right = figure.subplots(1, 2, sharex=True)
    draw_losses(left, rows)
    draw_scores(right, rows)
    with replacing(path) as part:
        figure.savefig(part, dpi=150, format="png")


def read_log(log: Path) -> list[dict[str, str]]:
    """Read the ``log.csv`` of a run, a row for every step.

    Parameters
    ----------
    log : Path
        The file. Of a damaged one, the whole rows are read; a missing one has none.
    """
    try:
        with log.open(newline="", encoding="utf-8", errors="replace") as file:
            return [row for row in csv.DictReader(file) if _is_whole(row)]
    except (OSError, csv.Error):
        return []


def _is_whole(row: dict[str, str]) -> bool:
    """Return whether a row holds numbers where they belong."""
    try:
        for key in ("step", "epoch"):
            int(row[key])
        for key in row.keys() - {"time", "scores"}:
            float(row[key])
        return not row["scores"] or isinstance(json.loads(row["scores"])["score"], int | float)
    except (KeyError, TypeError, ValueError):
        return False


def draw_losses(axes: Axes, rows: list[dict[str, str]]) -> None:
    """Draw the losses of every branch over epochs.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    rows : list of dict of str to str
        The log, as `read_log` returns it.
    """
    epochs = np.array([int(row["epoch"]) for row in rows])
    shown = np.unique(epochs)
    for branch in (key for key in rows[0] if key not in _NO_LOSS):
        losses = np.array([float(row[branch]) for row in rows])
        means = [losses[epochs == epoch].mean() for epoch in shown]
        label, color = _BRANCHES.get(branch, branch), _COLORS.get(branch)
        axes.plot(shown, means, ".-", markersize=4, label=label, color=color)
    axes.set(title="Training loss", ylabel="mean over the epoch")
    axes.set_ylim(bottom=0)
    _finish(axes)


def draw_scores(axes: Axes, rows: list[dict[str, str]]) -> None:
    """Draw the validation scores over epochs, in the colour of text the one that decides.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    rows : list of dict of str to str
        The log, as `read_log` returns it.
    """
    validated = [row for row in rows if row["scores"]]
    epochs = [int(row["epoch"]) for row in validated]
    scores = [json.loads(row["scores"]) for row in validated]
    curves = {key: [over_datasets(entry, key) for entry in scores] for key in ("aji", "pq", "f1")}
    for key, values in curves.items():
        if not np.isnan(values).all():
            axes.plot(epochs, values, ".-", label=_SCORES[key], color=_COLORS[key])
    chosen = [entry["score"] for entry in scores]
    if not chosen:
        return
    best = int(np.argmax(chosen))
    ink = rcParams["text.color"]
    label = f"score, best {chosen[best]:.3f}"
    axes.plot(epochs, chosen, ".-", label=label, color=ink, linewidth=2)
    axes.plot(epochs[best], chosen[best], "o", color=ink, markersize=9, markerfacecolor="none")
    axes.set(title="Validation", ylabel="score")
    axes.set_ylim(0, 1)
    _finish(axes)


def over_datasets(scores: dict[str, Any], key: str) -> float:
    """Return a validation score's mean over datasets, and over types where each has its own.

    Parameters
    ----------
    scores : dict of str to Any
        As `validation.validate` returns.
    key : str
        Name of the score.
    """
    found = (entry[key] for entry in scores["datasets"].values() if key in entry)
    return mean(mean(value.values()) if isinstance(value, dict) else value for value in found)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
