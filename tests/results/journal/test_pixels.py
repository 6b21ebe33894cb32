from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.labels import build_pyramid, create_labels, open_labels, write_box
from napari_nucleus.slides.tiles import Box

HIGHEST = np.iinfo(np.int32).max


def pair(seed: int, height: int = 60, width: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = np.kron(rng.integers(0, 4, (-(-height // 6), -(-width // 6))), np.ones((6, 6), int))
    before = before[:height, :width].astype(np.int32)
    after = before.copy()
    after[10:30, 20:60] = 7
    after[40:42, :] = HIGHEST
    after[before == 2] = 0
    return before, after


def test_a_change_takes_labels_there_and_back() -> None:
    before, after = pair(0)
    change = PixelChange.between(before, after, 1000, 2000)
    stored = PixelChange.decode(change.encode())
    for there in (change, stored):
        labels = before.copy()
        there.draw(labels, 1000, 2000)
        np.testing.assert_array_equal(labels, after)
        there.inverse().draw(labels, 1000, 2000)
        np.testing.assert_array_equal(labels, before)
    y, x = np.nonzero(before != after)
    box = Box(int(x.min()) + 1000, int(y.min()) + 2000, int(x.max()) + 1001, int(y.max()) + 2001)
    assert change.box == stored.box == box


def test_only_what_differs_is_named() -> None:
    before, after = pair(1)
    change = PixelChange.between(before, after, 0, 0)
    assert change.length.sum() == (before != after).sum()
    other = np.full_like(before, 9)
    change.draw(other, 0, 0)
    np.testing.assert_array_equal(other, np.where(before != after, after, 9))
    assert len(PixelChange.between(before, before, 0, 0)) == 0


def test_a_change_is_drawn_into_a_part_of_its_place() -> None:
    before, after = pair(2)
    change = PixelChange.between(before, after, 100, 50)
    part = before[20:50, 30:80].copy()
    change.draw(part, 130, 70)
    np.testing.assert_array_equal(part, after[20:50, 30:80])


def test_text_is_small() -> None:
    labels = np.zeros((100, 100), np.int32)
    rows, columns = np.indices(labels.shape)
    nucleus = np.where((rows - 50) ** 2 + (columns - 50) ** 2 < 15**2, 123_456, 0)
    assert len(PixelChange.between(labels, nucleus, 90_000, 90_000).encode()) < 400


@pytest.mark.parametrize("text", ["", "no base64!", "aGVsbG8="])
def test_text_of_something_else(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PixelChange.decode(text)


def test_every_level_of_a_pyramid_follows(tmp_path: Path) -> None:
    """Across borders of chunks and at the odd border of the image."""
    labels = np.zeros((1301, 1111), np.int32)
    labels[400:700, 300:800] = 3
    level = create_labels(tmp_path / "labels", labels.shape)
    write_box(level, 0, 0, labels)
    build_pyramid(tmp_path / "labels", "test", None)
    levels = open_labels(tmp_path / "labels", writable=True)
    assert len(levels) == 3

    after = labels.copy()
    after[505:520, 480:530] = 11
    after[1290:, 1100:] = 12
    change = PixelChange.joined(
        PixelChange.between(labels[part], after[part], part[1].start, part[0].start)
        for part in (np.s_[500:600, 400:600], np.s_[1200:1301, 1000:1111])
    )
    assert not change.is_in(levels)
    for _ in range(2):
        change.write(levels)
        assert change.is_in(levels)
        for number, level in enumerate(levels):
            np.testing.assert_array_equal(level[:], after[:: 2**number, :: 2**number])
    change.inverse().write(levels)
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level[:], labels[:: 2**number, :: 2**number])


def test_no_change_at_all(tmp_path: Path) -> None:
    none = PixelChange.joined([])
    level = create_labels(tmp_path / "labels", (10, 10))
    none.write([level])
    assert none.is_in([level])
    assert len(PixelChange.decode(none.encode())) == 0
