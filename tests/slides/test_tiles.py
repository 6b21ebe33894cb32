from dataclasses import replace

import numpy as np
import pytest

from napari_nucleus.slides.tiles import STRIDE, Box, Grid

SHAPE = 900, 1300


@pytest.fixture(params=[1.0, 1.6, 0.7])
def grid(request: pytest.FixtureRequest) -> Grid:
    return Grid(SHAPE, request.param, side=320)


@pytest.mark.parametrize("side", [64, 320, 640])
@pytest.mark.parametrize("stride", [STRIDE, 272])
def test_cores_cover_the_slide_once(grid: Grid, side: int, stride: int) -> None:
    own = replace(grid, side=side, stride=stride)
    times = np.zeros((own.extent.height, own.extent.width), int)
    for tile in own.tiles():
        times[tile.core.y0 : tile.core.y1, tile.core.x0 : tile.core.x1] += 1
    assert (times == 1).all()


def test_windows_reach_around_their_core_as_far_as_the_slide_goes(grid: Grid) -> None:
    for tile in grid.tiles():
        core, window = tile.core, tile.window
        x0, y0, x1, y1 = grid.on_slide(window)
        assert core.x0 - window.x0 == 64 or x0 <= 0
        assert core.y0 - window.y0 == 64 or y0 <= 0
        assert window.x1 - core.x1 == 64 or x1 >= SHAPE[1]
        assert window.y1 - core.y1 == 64 or y1 >= SHAPE[0]


@pytest.mark.parametrize("stride", [STRIDE, 272])
def test_windows_begin_at_whole_strides_of_the_network(grid: Grid, stride: int) -> None:
    own = replace(grid, stride=stride)
    corners = [(tile.window.x0, tile.window.y0) for tile in own.tiles()]
    assert not np.any(np.array(corners) % stride)
    inner = [tile.window.x1 for tile in own.tiles() if tile.window.x1 < own.extent.x1]
    assert not np.any(np.array(inner) % stride)


def test_a_tile_is_known_by_its_place(grid: Grid) -> None:
    places = [(tile.row, tile.column) for tile in grid.tiles()]
    assert places == list(np.ndindex(grid.rows, grid.columns))
    assert [grid.tile(*place) for place in places] == grid.tiles()


def test_interior_tiles_are_alike_so_that_they_fit_into_a_batch() -> None:
    windows = [tile.window for tile in Grid((320, 5000), 1).tiles()]
    assert len({window.width for window in windows[1:-1]}) == 1


def test_labels_stay_as_they_are_at_the_networks_resolution() -> None:
    grid = Grid((100, 200), 1)
    window = Box(-32, -32, 120, 80)
    labels = np.arange(window.height * window.width, dtype=np.int32).reshape(window.height, -1)
    on_slide, box = grid.to_slide(labels, np.ones(labels.shape), 0.5, window)
    assert box == Box(0, 0, 120, 80)
    assert np.array_equal(on_slide, labels[32:, 32:])


@pytest.mark.parametrize("scale", [1.6, 0.7, 2.5])
def test_a_disc_lies_where_it_was_and_is_round(scale: float) -> None:
    """The disc's own formula, at both resolutions, says where it is."""
    grid = Grid((300, 320), scale)
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
