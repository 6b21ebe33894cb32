import numpy as np
import pytest
from scipy import ndimage

from napari_nucleus.edits.shapes import free_part, join_masks, part_mask
from napari_nucleus.errors import UserError


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def test_a_line_parts_a_rectangle_where_it_is_drawn() -> None:
    mask = np.zeros((20, 40), bool)
    mask[4:16, 5:35] = True
    pieces = part_mask(mask, [(14, 0), (14, 19)])
    assert (pieces[mask] > 0).all()
    assert not pieces[~mask].any()
    # Left of column 14 are 9 columns, right of it 20; the line's own go to the nearer piece.
    assert (pieces[4:16, 15:35] == 1).all()
    assert (pieces[4:16, 5:14] == 2).all()
    assert np.isin(pieces[4:16, 14], [1, 2]).all()


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_a_line_at_any_angle_halves_a_disc(angle: int) -> None:
    mask = disc((61, 61), 30, 30, 25)
    dx, dy = 40 * np.cos(np.radians(angle)), 40 * np.sin(np.radians(angle))
    pieces = part_mask(mask, [(30 - dx, 30 - dy), (30 + dx, 30 + dy)])
    sizes = np.bincount(pieces[mask])
    assert len(sizes) == 3
    assert sizes[0] == 0
    assert sizes[1] >= sizes[2] > 0.45 * mask.sum()
    for piece in (1, 2):
        assert ndimage.label(pieces == piece)[1] == 1


def test_pieces_come_in_descending_order_of_size() -> None:
    mask = np.ones((10, 60), bool)
    pieces = part_mask(mask, [(10, -5), (10, 20), (40, 20), (40, -5)])
    sizes = np.bincount(pieces.ravel())
    assert sizes[0] == 0
    assert sizes[1] > sizes[2] > sizes[3]
    assert sizes.sum() == mask.size
    assert (pieces[:, 11:40] == 1).all()
    assert (pieces[:, 41:] == 2).all()
    assert (pieces[:, :10] == 3).all()


@pytest.mark.parametrize(
    "line", [[(-5, 10), (12, 10)], [(0, -3), (20, -3)], [(1, -5), (-5, 1)], [(0, 1), (1, 0)]]
)
def test_lines_that_part_nothing(line: list[tuple[float, float]]) -> None:
    """One that ends within, one that passes, and two that would cut off a crumb."""
    mask = np.ones((20, 20), bool)
    np.testing.assert_array_equal(part_mask(mask, line), mask)


def test_nuclei_that_touch_are_joined_as_they_are() -> None:
    labels = np.zeros((20, 30), int)
    labels[5:15, 4:14] = 3
    labels[2:12, 14:24] = 8
    np.testing.assert_array_equal(join_masks(labels, [8, 3], 0), labels > 0)


def test_a_gap_is_filled_between_the_nuclei_only() -> None:
    labels = np.zeros((40, 50), int)
    labels[disc(labels.shape, 20, 12, 8)] = 1
    labels[disc(labels.shape, 20, 32, 8)] = 2  # 3 empty columns between them
    labels[18:24, 0:3] = 5
    joined = join_masks(labels, [1, 2], reach=4)
    assert joined[np.isin(labels, [1, 2])].all()
    assert not joined[labels == 5].any()
    added = joined & (labels == 0)
    rows, columns = np.nonzero(added)
    assert added.any()
    assert columns.min() > 12
    assert columns.max() < 32
    assert np.abs(rows - 20).max() < 8
    assert ndimage.label(joined)[1] == 1


def test_three_in_a_row_are_joined_from_either_end() -> None:
    labels = np.zeros((12, 40), int)
    for label, x in ((4, 2), (7, 14), (9, 26)):
        labels[2:10, x : x + 10] = label
    for order in ([4, 9, 7], [9, 4, 7]):
        joined = join_masks(labels, order, reach=2)
        assert joined[3:9, 2:36].all()  # corners of the gap may stay round
        assert joined.sum() <= 8 * 34
        assert not joined[:2].any()


def test_nuclei_that_cannot_be_joined() -> None:
    labels = np.zeros((12, 40), int)
    labels[2:10, 2:10] = 1
    labels[2:10, 16:24] = 2
    with pytest.raises(UserError, match="do not touch"):
        join_masks(labels, [1, 2], reach=4)
    labels[0:12, 10:16] = 3  # another one lies between
    with pytest.raises(UserError, match="do not touch"):
        join_masks(labels, [1, 2], reach=8)


def test_a_new_nucleus_leaves_others_their_pixels() -> None:
    labels = np.zeros((20, 20), int)
    labels[:, 8:11] = 4
    mask = np.zeros((20, 20), bool)
    mask[5:15, 2:18] = True
    expected = np.zeros_like(mask)
    expected[5:15, 11:18] = True  # 7 columns on the right of it, 6 on the left
    np.testing.assert_array_equal(free_part(labels, mask), expected)
    with pytest.raises(UserError, match="already there"):
        free_part(labels, labels == 4)
