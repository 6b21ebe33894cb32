"""The pyramid of a run that goes on shows what is finished, whichever level is looked at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_nucleus.inference import segment_steps
from napari_nucleus.inference.tile_nuclei import TileNuclei
from napari_nucleus.measure.runs import LabelRuns, label_runs
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.segment import growing_labels
from napari_nucleus.widgets.segment.growing_labels import GrowingLabels
from tests.tissue import TYPES, Decoder, Tissue, tiled, tissue

HEIGHT, WIDTH = 610, 1130


@pytest.fixture(scope="module")
def grown() -> Tissue:
    return tissue(HEIGHT, WIDTH, seed=4)


@pytest.fixture(params=[2**26, 2**17], ids=["kept", "painted"])
def growing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, grown: Tissue, tmp_path: Path
) -> GrowingLabels:
    """Grow the nuclei of 2 x 3 tiles, of which the last comes first."""
    monkeypatch.setattr(growing_labels, "_KEPT", request.param)
    growing = GrowingLabels((HEIGHT, WIDTH), TYPES)
    slide = slide_from_arrays([grown.coded()], 0.25)
    network = tiled(Decoder(), 416, 64)
    steps = segment_steps(slide, tmp_path / "grown.nucleus", network, view=lambda: (WIDTH, HEIGHT))
    tiles = [(step.tile, step.own) for step in steps if step.tile]
    boxes = [growing.add(tile, own) for tile, own in tiles if own is not None]
    assert len(boxes) == 6
    assert boxes[0] is not None
    assert boxes[0].x0 > 700
    return growing


def test_every_level_shows_every_nth_pixel(growing: GrowingLabels, grown: Tissue) -> None:
    shapes = [(610, 1130), (305, 565), (153, 283)]
    assert [level.shape for level in growing.levels] == shapes
    whole = growing.levels[0][0:HEIGHT, 0:WIDTH]
    agree = (whole > 0) == (grown.labels > 0)
    assert agree.mean() > 0.999  # seams are not settled
    for power, level in enumerate(growing.levels):
        box = level[10:140, 21:270]
        assert box.dtype == level.dtype == np.uint16
        np.testing.assert_array_equal(box, whole[:: 2**power, :: 2**power][10:140, 21:270])


def test_values_tell_the_class_and_neighbours_apart(growing: GrowingLabels, grown: Tissue) -> None:
    whole = growing.levels[0][0:HEIGHT, 0:WIDTH]
    both = (whole > 0) & (grown.labels > 0)
    number = np.array([TYPES.index(name) for name in grown.types])
    count = len(TYPES) + 1  # and those without a class
    assert ((whole[both] - 1) % count == number[grown.labels[both] - 1]).mean() > 0.999
    right, down = both[:, 1:] & both[:, :-1], both[1:] & both[:-1]
    for pairs, step in ((right, (0, 1)), (down, (1, 0))):
        y, x = np.nonzero(pairs)
        next_to = y + step[0], x + step[1]
        others = grown.labels[y, x] != grown.labels[next_to]
        assert others.sum() > 20
        assert (whole[y, x] != whole[next_to])[others].mean() > 0.98


def test_a_place_far_from_the_corner() -> None:
    growing = GrowingLabels((90_000, 120_000), TYPES)
    labels = np.zeros((40, 60), int)
    labels[3:33, 10:50] = 1
    labels[35:40, 10:50] = 2  # of another tile
    runs = label_runs(labels)
    x, y = 99_990, 80_000
    tile = TileNuclei(
        row=9,
        column=9,
        table=pd.DataFrame({"type": ["pale", "dark"]}),
        centres=np.zeros((2, 2)),
        depth=np.zeros(2, np.float32),
        runs=LabelRuns(np.arange(2), runs.nucleus, runs.x + x, runs.y + y, runs.length),
        features=np.zeros((2, 0), np.float16),
    )
    assert growing.add(tile, np.array([True, False])) == Box(x + 10, y + 3, x + 50, y + 33)
    for power, level in enumerate(growing.levels):
        step = 2**power
        rows, columns = slice(y // step - 9, y // step + 50), slice(x // step - 9, x // step + 90)
        found_y, found_x = np.nonzero(level[rows, columns])
        expected = np.zeros((59 * step, 99 * step), bool)
        top, left = y - rows.start * step, x - columns.start * step
        expected[top + 3 : top + 33, left + 10 : left + 50] = True
        expected_y, expected_x = np.nonzero(expected[::step, ::step])
        np.testing.assert_array_equal(found_y, expected_y)
        np.testing.assert_array_equal(found_x, expected_x)


def test_a_tile_without_nuclei_changes_nothing(grown: Tissue, tmp_path: Path) -> None:
    growing = GrowingLabels((64, 64), ["nucleus"])
    slide = slide_from_arrays([np.full((64, 64, 3), 255, np.uint8)], 0.25)
    for step in segment_steps(slide, tmp_path / "blank.nucleus", Decoder()):
        if step.tile and step.own is not None:
            assert growing.add(step.tile, step.own) is None
    assert not growing.levels[0].any()
