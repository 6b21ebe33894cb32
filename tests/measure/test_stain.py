import numpy as np
import pytest
from skimage.color import rgb2hed

from napari_nucleus.measure import measure
from napari_nucleus.measure.stain import STAINS, separate_stains


@pytest.mark.parametrize("shape", [(256, 3), (40, 30, 3), (2, 16, 16, 3)])
def test_six_times_the_numbers_of_scikit_image(shape: tuple[int, ...]) -> None:
    """It divides the densities by that of 1e-6, which is 6."""
    rgb = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    stains = separate_stains(rgb)
    assert stains.dtype == np.float32
    np.testing.assert_allclose(stains, 6 * rgb2hed(rgb), atol=2e-5)


@pytest.mark.parametrize("white", [(255, 255, 255), (240, 238, 230)])
def test_stains_of_known_density_are_found_again(white: tuple[int, int, int]) -> None:
    """Light falls to a tenth where the optical density is 1 (Beer and Lambert)."""
    amounts = np.array([[0.6, 0.3, 0.0], [0.2, 0.7, 0.1], [0.0, 0.0, 0.0]])
    rgb = np.rint(np.array(white) * 10 ** -(amounts @ STAINS)).astype(np.uint8)
    np.testing.assert_allclose(separate_stains(rgb, white), amounts, atol=0.02)


def test_black_counts_as_one_and_white_has_no_stain() -> None:
    rgb = np.array([[0, 0, 0], [1, 1, 1], [255, 255, 255]], np.uint8)
    black, darkest, white = separate_stains(rgb)
    np.testing.assert_array_equal(black, darkest)
    assert not white.any()
    assert not separate_stains(rgb[2:], (240, 240, 240)).any()  # brighter than the white point


def test_measured_nuclei_have_optical_densities() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[5:15, 5:15] = 1
    rgb = np.full((20, 20, 3), 240, np.uint8)
    rgb[labels > 0] = np.rint(240 * 10 ** -(np.array([0.8, 0.2, 0.0]) @ STAINS))
    (row,) = measure(labels, rgb, 0.25, white=(240, 240, 240)).itertuples()
    assert row.hematoxylin_mean == pytest.approx(0.8, abs=0.02)
    assert row.eosin_mean == pytest.approx(0.2, abs=0.02)
    assert row.hematoxylin_std == pytest.approx(0, abs=1e-6)


def test_a_crop_that_is_not_contiguous() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    crop = separate_stains(rgb[5:20, 7:30])
    np.testing.assert_allclose(crop, separate_stains(rgb)[5:20, 7:30], atol=2e-6)


def test_nothing_in_nothing_out() -> None:
    assert separate_stains(np.empty((0, 3), np.uint8)).shape == (0, 3)
