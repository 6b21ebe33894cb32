"""Coarser levels that no file has: every part of the image is read once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array as da
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_nucleus.slides import overview as overview_module
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.slides.overview import Overview

Chunks = tuple[int, int]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small image be a large one."""
    monkeypatch.setattr(overview_module, "SMALL", 64)
    monkeypatch.setattr(overview_module, "_MOST", 200 * 200)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def means(image: NDArray[np.uint8], factor: int) -> NDArray[np.float64]:
    """Return the means of squares, of which those at the edge may be cut."""
    height, width, _ = image.shape
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    sums = np.add.reduceat(np.add.reduceat(image.astype(float), rows, 0), columns, 1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return sums / counts[..., None]


class Counting:
    """Pixels that count how often each of their tiles is read."""

    def __init__(self, image: NDArray[np.uint8], tile: Chunks) -> None:
        self._image, self._tile = image, tile
        self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim
        self.reads: Counter[Chunks] = Counter()

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        spans = [
            range(one.start // side, -(-one.stop // side))
            for one, side in zip(index[:2], self._tile, strict=True)
        ]
        self.reads.update((y, x) for y in spans[0] for x in spans[1])
        return self._image[index]

    def array(self, chunks: Chunks) -> da.Array:
        return da.from_array(self, (*chunks, 3), name=False, asarray=True)


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        ((700, 900), (64, 64)),
        ((701, 899), (96, 48)),
        ((1000, 130), (10, 130)),  # strips
        ((333, 777), (333, 777)),
        ((500, 640), (50, 72)),
    ],
)
def test_levels_are_means(size: Chunks, chunks: Chunks) -> None:
    image = noise(*size)
    made = Overview(da.from_array(image, (*chunks, 3)))
    factor = made.factor
    for level in made.levels:
        expected = means(image, factor)
        assert level.shape == expected.shape
        seen = level.compute(scheduler="threads")
        # An edge pixel weighs its fewer pixels as if they were more; rounding adds up.
        inner = np.s_[: size[0] // factor, : size[1] // factor]
        assert np.abs(seen[inner] - expected[inner]).max() <= 1.6
        factor *= 2
    assert max(made.levels[-1].shape) <= 64
    assert made.is_whole


@pytest.mark.parametrize("chunks", [(64, 64), (96, 48), (10, 900)])
def test_every_tile_is_read_once(chunks: Chunks) -> None:
    """By however many threads, levels and views."""
    source = Counting(noise(700, 900), chunks)
    made = Overview(source.array(chunks))
    made.levels[-1][2:4, 3:9].compute(scheduler="threads")
    assert 0 < len(source.reads) < 140
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda level: level.compute(scheduler="threads"), 3 * made.levels))
    list(made.steps())
    assert set(source.reads.values()) == {1}
    tiles = -(-700 // chunks[0]) * -(-900 // chunks[1])
    assert len(source.reads) == tiles


def test_what_is_shown_waits_for_nothing() -> None:
    image = noise(700, 900)
    image[image == 0] = 1
    source = Counting(image, (64, 64))
    made = Overview(source.array((64, 64)))
    assert not np.asarray(made.shown[0]).any()
    assert not source.reads
    shares = []
    for share in made.steps():
        shares.append(share)
        if len(shares) == 1:  # the centre is the first to be seen
            height, width = made.shown[-1].shape[:2]
            assert made.shown[-1][height // 2 - 2 : height // 2 + 2, width // 2].any()
            assert not made.shown[-1][0, 0].any()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert made.is_whole
    for shown, level in zip(made.shown, made.levels, strict=True):
        np.testing.assert_array_equal(shown[5:30, 2:], level[5:30, 2:].compute())
    assert set(source.reads.values()) == {1}


def test_a_damaged_part_stays_black() -> None:
    image = noise(700, 900)

    def block(pixels: NDArray[np.uint8], block_info: dict) -> NDArray[np.uint8]:
        if block_info[0]["chunk-location"] == (0, 0, 0):
            raise OSError("damaged")
        return pixels

    made = Overview(da.map_blocks(block, da.from_array(image, (64, 64, 3)), dtype=np.uint8))
    assert list(made.steps())[-1] == 1
    assert not made.is_whole
    assert not made.shown[-1][0, 0].any()
    assert made.shown[-1][-1, -1].any()
    with pytest.raises(OSError, match="damaged"):
        made.levels[0].compute()


def test_levels_between_are_computed_where_they_are_read() -> None:
    """A slide of one level has all of them, and a small view of a fine one reads little."""
    image = noise(1600, 1792)
    source = Counting(image, (64, 64))
    slide = slide_from_arrays([source.array((64, 64))])
    assert slide.downsamples == (1, 2, 4, 8, 16, 32)
    assert slide.overview is not None
    assert slide.overview.factor == 16
    seen = slide.read(100, 120, 30, 40, level=1)
    assert len(source.reads) < 20
    expected = means(image, 2)[120:160, 100:130]
    assert np.abs(seen - expected).max() <= 0.5
