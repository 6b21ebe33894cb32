import numpy as np
import pytest
from skimage.color import rgb2hed

from napari_nucleus.measure.stain import separate_stains


@pytest.mark.parametrize("shape", [(256, 3), (40, 30, 3), (2, 16, 16, 3)])
def test_same_numbers_as_scikit_image(shape: tuple[int, ...]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stains = separate_stains(rgb)
    assert stains.dtype == np.float32
    np.testing.assert_allclose(stains, rgb2hed(rgb), atol=2e-6)


def test_black_and_white() -> None:
    rgb = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    np.testing.assert_allclose(separate_stains(rgb), rgb2hed(rgb), atol=2e-6)
    assert not separate_stains(rgb)[1].any()


def test_a_crop_that_is_not_contiguous() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    crop = separate_stains(rgb[5:20, 7:30])
    np.testing.assert_allclose(crop, separate_stains(rgb)[5:20, 7:30], atol=2e-6)


def test_nothing_in_nothing_out() -> None:
    assert separate_stains(np.empty((0, 3), np.uint8)).shape == (0, 3)
