import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from napari_nucleus.training.curves import draw_curves


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two epochs of two steps, each validated on two datasets."""
    file = tmp_path / "log.csv"
    columns = ("step", "epoch", "time", "seconds", "network_seconds", "np", "tp", "scores")
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for step in range(1, 5):
            scores = {
                "score": 0.5 + step / 100,
                "datasets": {
                    "a": {"aji": 0.4, "pq": 0.3, "f1": {"x": 0.8, "y": float("nan")}},
                    "b": {"aji": 0.6, "pq": 0.5},
                },
            }
            told = "" if step % 2 else json.dumps(scores)
            writer.writerow([step, (step + 1) // 2, "", 1, 1, step, 2 * step, told])
    return file


def test_lines_are_those_of_the_log(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: dict[str, tuple[list, list]] = {}
    plot = Axes.plot

    def noted(self: Axes, x: list, y: list, *args: Any, **kwargs: Any) -> list:
        if "label" in kwargs:
            lines[kwargs["label"]] = (np.asarray(x).tolist(), np.asarray(y).tolist())
        return plot(self, x, y, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", noted)
    draw_curves(log, tmp_path / "curves.png")
    assert lines == {
        "nucleus (np)": ([1, 2], [1.5, 3.5]),
        "type (tp)": ([1, 2], [3, 7]),
        "AJI": ([1, 2], [0.5, 0.5]),
        "PQ": ([1, 2], [0.4, 0.4]),
        "F1, mean over types": ([1, 2], [0.8, 0.8]),
        "score, best 0.540": ([1, 2], [0.52, 0.54]),
    }
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000
