from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.figure import draw, write_figure
from napari_nucleus.evaluation.report import report
from napari_nucleus.metrics.aggregate import ImageScore
from napari_nucleus.nucleus_types import type_colors
from tests.evaluation.test_report import scored
from tests.tissue import TYPES

KINDS = (*TYPES, "absent")


@pytest.fixture(scope="module")
def found() -> dict:
    images: list[ImageScore] = [scored("one", 1, 3), scored("one", 2, 3), scored("two", 3, types=0)]
    return report(images, KINDS)


def test_every_image_is_a_point_and_every_dataset_a_mean(found: dict) -> None:
    panels = {axes.get_title(): axes for axes in draw(found).axes}
    assert list(panels)[:6] == ["Dice", "AJI", "DQ", "SQ", "PQ", "F1 detection"]
    axes = panels["PQ"]
    points = np.concatenate([points.get_offsets() for points in axes.collections])
    np.testing.assert_allclose(points[:, 0], [row["pq"] for row in found["per_image"]])
    assert np.round(points[:, 1]).tolist() == [0, 0, 1]
    drawn = [np.asarray(line.get_xydata(), float) for line in axes.lines]
    for row, of in enumerate(found["per_dataset"].values()):
        low, high = of["ci95"]["pq"]
        np.testing.assert_allclose(drawn[2 * row], [[low, row], [high, row]])
        np.testing.assert_allclose(drawn[2 * row + 1], [[of["pq"], row]])
    assert len(panels["F1 detection"].lines) == 2  # set two has no types
    assert [t.get_text() for t in panels["Dice"].get_yticklabels()] == ["one", "two"]


def test_every_class_is_a_bar_in_its_colour(found: dict) -> None:
    axes = draw(found).axes[-1]
    bars = [
        (bar.get_width(), to_hex(bar.get_facecolor()))
        for bar in axes.patches
        if isinstance(bar, Rectangle)
    ]
    colors = type_colors(KINDS)
    assert bars == [(found["f1"][name], colors[name]) for name in TYPES]
    assert [label.get_text().split()[0] for label in axes.get_yticklabels()] == list(KINDS)
    assert "not annotated here" in [text.get_text() for text in axes.texts]


def test_figure_is_written_as_its_name_says(found: dict, tmp_path: Path) -> None:
    write_figure(tmp_path / "a.png", found, "model")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert pixels.shape[1] > 1000
    assert 0.005 < (pixels < 128).mean() < 0.5
    write_figure(tmp_path / "a.svg", report([scored("one", 1, types=0)], ()))
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    for wrong in (tmp_path / "a.doc", tmp_path / "none" / "a.png"):
        with pytest.raises(UserError, match=r"cannot be written .*: name a \.png, \.pdf or \.svg"):
            write_figure(wrong, found)
