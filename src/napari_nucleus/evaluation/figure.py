"""An evaluation as a picture: every image as a point, means with their intervals, classes as bars.

Drawn without pyplot, whose figures would stay in memory and look for a screen.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import type_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = {
    "dice": "Dice",
    "aji": "AJI",
    "dq": "DQ",
    "sq": "SQ",
    "pq": "PQ",
    "f1d": "F1 detection",
    "mpq": "mPQ",
}
"""Scores that are drawn, if the report contains them, and their names."""

_INK, _IMAGE = "#222222", "#7a9cc6"


def write_figure(path: str | Path, found: dict[str, Any], title: str = "") -> None:
    """Draw a report of scores into a file.

    Above, a panel for each score with a row for each dataset: a point for every image, and the
    mean with its 95 % interval. Below, where types are annotated, the F1 of each class with its
    interval, and how many nuclei of it are annotated.

    Parameters
    ----------
    path : str or Path
        File to write; its suffix says the format: png, pdf, svg.
    found : dict of str to Any
        As `score_report.report` makes it.
    title : str
        What is written above.

    Raises
    ------
    UserError
        If the file cannot be written, or its suffix is of no format.
    """
    figure = draw(found, title)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:  # ValueError: an unknown format
        raise UserError(f"{path} cannot be written ({error}): name a .png, .pdf or .svg.") from None


def draw(found: dict[str, Any], title: str = "") -> "Figure":
    """Draw the figure that `write_figure` writes.

    Parameters
    ----------
    found : dict of str to Any
        As `report.report` makes it.
    title : str
        The title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scores = [key for key in SCORES if key in found]
    datasets = list(found["per_dataset"])
    classes = found.get("per_class", {})
    heights = [0.5 + 0.45 * len(datasets)] + [0.5 + 0.32 * len(classes)] * bool(classes)
    figure = Figure(
        figsize=(2 + 1.5 * len(scores), 1.4 + sum(heights)), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    images = f"{found['images']} image{'s' * (found['images'] != 1)}"
    figure.suptitle(f"{title}, {images}" if title else images)
    grid = figure.add_gridspec(len(heights), len(scores), height_ratios=heights)
    for column, key in enumerate(scores):
        axes = figure.add_subplot(grid[0, column])
        _draw_score(axes, found, key)
        axes.set_yticks(range(len(datasets)), datasets if column == 0 else [])
    if classes:
        _draw_classes(figure.add_subplot(grid[1, :]), classes)
    figure.supxlabel("point: image; diamond and bar: mean and 95 % interval", fontsize=8)
    return figure


def _draw_score(axes: "Axes", found: dict[str, Any], key: str) -> None:
    rng = np.random.default_rng(0)
    datasets = found["per_dataset"]
    for row, (name, scores) in enumerate(datasets.items()):
        values = [image[key] for image in found["per_image"] if image["dataset"] == name]
        positions = row + rng.uniform(-0.22, 0.22, len(values))
        axes.scatter(values, positions, s=9, color=_IMAGE, alpha=0.6, linewidths=0, clip_on=False)
        if key in scores:
            _draw_mean(axes, scores[key], scores["ci95"][key], row)
    axes.set(title=SCORES[key], xlim=(0, 1), ylim=(len(datasets) - 0.5, -0.5))
    _clean(axes)


def _draw_classes(axes: "Axes", classes: dict[str, Any]) -> None:
    colors = type_colors(classes)
    for row, (name, scores) in enumerate(classes.items()):
        if np.isnan(scores["f1"]):
            axes.text(0.005, row, "not annotated here", va="center", fontsize=8, color="#777777")
            continue
        axes.barh(row, scores["f1"], height=0.6, color=colors[name], alpha=0.75)
        _draw_mean(axes, scores["f1"], scores["ci95"]["f1"], row)
    names = [
        f"{name.replace('_', ' ')} ({scores['annotated']})" for name, scores in classes.items()
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set(title="F1 per class (nuclei annotated)", xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
    _clean(axes)


def _draw_mean(axes: "Axes", value: float, interval: list[float], row: int) -> None:
    axes.plot(interval, [row, row], color=_INK, linewidth=1.6, solid_capstyle="butt")
    axes.plot(value, row, marker="D", markersize=4.5, color=_INK)
    axes.annotate(
        f"{value:.2f}",
        (value, row),
        (0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0},
    )


def _clean(axes: "Axes") -> None:
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
