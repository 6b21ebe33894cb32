from dataclasses import replace

import numpy as np
import pytest

from napari_nucleus.slides.tiles import STRIDE, Box, Grid, Tile

SHAPE = 900, 1300
REGIONS = {
    "whole": Box(0, 0, 1300, 900),
    "inside": Box(215, 330, 1100, 801),
    "small": Box(1290, 890, 1300, 900),
}


@pytest.fixture(params=[1.0, 1.6, 0.7])
def scale(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(params=REGIONS.values(), ids=list(REGIONS))
def grid(request: pytest.FixtureRequest, scale: float) -> Grid:
    return Grid(request.param, SHAPE, scale)


def covered(tiles: list[Tile], grid: Grid) -> np.ndarray:
    width, height = grid.size
    times = np.zeros((height, width), int)
    for tile in tiles:
        times[tile.core.y0 : tile.core.y1, tile.core.x0 : tile.core.x1] += 1
    return times


@pytest.mark.parametrize("side", [64, 320, 640])
def test_cores_cover_the_region_once(grid: Grid, side: int) -> None:
    tiles = list(grid.tiles(side, 64))
    assert (covered(tiles, grid) == 1).all()
    assert max(max(tile.core.width, tile.core.height) for tile in tiles) <= side


def test_windows_reach_around_their_core_as_far_as_the_slide_goes(grid: Grid) -> None:
    for tile in grid.tiles(320, 64):
        core, window = tile.core, tile.window
        x0, y0, x1, y1 = grid.on_slide(window)
        assert core.x0 - window.x0 == 64 or x0 <= 0
        assert core.y0 - window.y0 == 64 or y0 <= 0
        assert window.x1 - core.x1 == 64 or x1 >= SHAPE[1]
        assert window.y1 - core.y1 == 64 or y1 >= SHAPE[0]


@pytest.mark.parametrize("stride", [STRIDE, 272])
def test_windows_begin_at_whole_strides_of_the_network(grid: Grid, stride: int) -> None:
    own = replace(grid, stride=stride)
    tiles = list(own.tiles(320, 64))
    assert (covered(tiles, own) == 1).all()
    corners = [(tile.window.x0, tile.window.y0) for tile in tiles]
    assert not np.any(np.array(corners) % stride)
    (width, _), end = own.size, own.extent.x1
    inner = [tile.window.x1 for tile in tiles if tile.core.x1 < width and tile.window.x1 < end]
    assert not np.any(np.array(inner) % stride)


def test_interior_tiles_are_alike_so_that_they_fit_into_a_batch() -> None:
    windows = [tile.window for tile in Grid(Box(0, 0, 5000, 320), (320, 5000), 1).tiles(640, 64)]
    assert len({window.width for window in windows[1:-1]}) == 1


def test_labels_stay_as_they_are_at_the_networks_resolution() -> None:
    grid = Grid(Box(10, 20, 110, 90), (100, 200), 1)
    window = Box(-32, -32, 120, 80)
    labels = np.arange(window.height * window.width, dtype=np.int32).reshape(window.height, -1)
    on_slide, box = grid.to_slide(labels, np.ones(labels.shape), 0.5, window)
    assert box == Box(0, 0, 130, 100)
    assert np.array_equal(on_slide, labels[12:, 22:])


@pytest.mark.parametrize("scale", [1.6, 0.7, 2.5])
def test_a_disc_lies_where_it_was_and_is_round(scale: float) -> None:
    """The disc's own formula, at both resolutions, says where it is."""
    grid = Grid(Box(40, 30, 300, 280), (300, 320), scale)
    window = Box(-16, -8, 400, 380)
    x0, y0, _, _ = grid.on_slide(window)
    cx, cy, radius = 160.0, 140.0, 40.0
    v, u = np.mgrid[: window.height, : window.width] + 0.5
    distance = np.hypot(u * scale + x0 - cx, v * scale + y0 - cy)
    probability = 1 / (1 + np.exp((distance - radius) / scale))
    labels, box = grid.to_slide((probability >= 0.5).astype(np.int32), probability, 0.5, window)
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1] + 0.5
    true = np.hypot(x - cx, y - cy) < radius
    assert np.sum(true & (labels > 0)) / np.sum(true | (labels > 0)) > 0.99
    inside_y, inside_x = np.nonzero(labels)
    assert inside_x.mean() + 0.5 + box.x0 == pytest.approx(cx, abs=0.1)
    assert inside_y.mean() + 0.5 + box.y0 == pytest.approx(cy, abs=0.1)
