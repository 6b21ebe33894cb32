import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.measure import regionprops
from skimage.transform import AffineTransform

from napari_nucleus.augment.geometry import Elastic, Geometry, warp_images, warp_labels

CPU = torch.device("cpu")


def test_no_warp_is_the_middle() -> None:
    labels = torch.arange(3 * 30 * 30, dtype=torch.int32).view(3, 30, 30)
    images = torch.randint(256, (3, 30, 30, 3), dtype=torch.uint8)
    grid = Geometry().grid(3, 20, CPU)
    assert torch.equal(warp_labels(labels, grid), labels[:, 5:-5, 5:-5])
    expected = images[:, 5:-5, 5:-5].movedim(-1, 1) / 255
    torch.testing.assert_close(warp_images(images, grid), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [24, 25])
def test_flips_are_those_of_numpy(side: int) -> None:
    """Of labels of any size, beyond what a float32 holds."""
    labels = torch.randint(2**30, 2**31 - 1, (1, side + 10, side + 10), dtype=torch.int32)
    images = torch.randint(256, (1, side + 10, side + 10, 3), dtype=torch.uint8)
    torch.manual_seed(0)
    grid = Geometry(flip=True).grid(40, side, CPU)
    found = warp_labels(labels.expand(40, -1, -1), grid).numpy()
    pictures = warp_images(images.expand(40, -1, -1, -1), grid)
    pixels = (pictures * 255).round().byte().movedim(1, -1).numpy()
    inner = (slice(5, -5), slice(5, -5))
    seen = []
    for label, picture in zip(found, pixels, strict=True):
        for axes in ((), (0,), (1,), (0, 1)):
            if np.array_equal(label, np.flip(labels[0].numpy()[inner], axes)):
                assert np.array_equal(picture, np.flip(images[0].numpy()[inner], axes))
                seen.append(axes)
    assert len(seen) == 40
    assert all(seen.count(axes) >= 4 for axes in set(seen))
    assert len(set(seen)) == 4


def measured(geometry: Geometry, count: int) -> list[AffineTransform]:
    """Fit the affine map that sends the centres of discs to where they are found in patches."""
    side, patch = 160, 80
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    centres = np.array([(-18, -9), (14, -13), (20, 17), (-11, 19), (1, 2)])
    labels = np.zeros((side, side), np.int32)
    for i, (cx, cy) in enumerate(centres, 100_001):
        labels[np.hypot(x - cx, y - cy) < 6] = i
    image = np.where(labels[..., None] > 0, 0, 255).repeat(3, -1).astype(np.uint8)
    grid = geometry.grid(count, patch, CPU)
    found = warp_labels(torch.from_numpy(labels).expand(count, -1, -1), grid)
    images = warp_images(torch.from_numpy(image).expand(count, -1, -1, -1), grid)
    assert ((images[:, 0] < 0.5) == (found > 0)).float().mean() > 0.997
    fits = []
    for one in found.numpy():
        moved = {region.label: region.centroid for region in regionprops(one)}
        assert set(moved) == set(range(100_001, 100_006))
        target = np.array([moved[i][::-1] for i in sorted(moved)]) - (patch - 1) / 2
        fit = AffineTransform.from_estimate(centres, target)
        assert fit.residuals(centres, target).max() < 0.4
        assert np.abs(fit.translation).max() < 0.4
        fits.append(fit)
    return fits


def test_discs_move_where_scale_and_rotation_send_them() -> None:
    torch.manual_seed(0)
    fits = measured(Geometry(scale=(0.9, 1.1), rotation=90), 60)
    zooms = np.array([fit.scale for fit in fits])
    angles = np.degrees([fit.rotation for fit in fits])
    np.testing.assert_allclose(zooms[:, 0], zooms[:, 1], atol=0.02)
    assert 0.88 < zooms.min() < 0.92 < 1.08 < zooms.max() < 1.12
    assert -91 < angles.min() < -70 < 70 < angles.max() < 91
    assert np.abs([fit.shear for fit in fits]).max() < np.radians(1.5)


def test_discs_move_where_shear_sends_them() -> None:
    torch.manual_seed(0)
    fits = measured(Geometry(shear=20), 30)
    slopes = np.array([fit.params[0, 1] for fit in fits])
    assert np.abs(slopes).max() < np.tan(np.radians(20.5))
    assert slopes.min() < -0.25 < 0.25 < slopes.max()
    rest = np.array([fit.params[:2, :2] for fit in fits])
    rest[:, 0, 1] = 0
    np.testing.assert_allclose(rest, np.broadcast_to(np.eye(2), rest.shape), atol=0.02)


@pytest.mark.parametrize(("alpha", "sigma"), [(20, 5), (300, 30)])
def test_elastic_field_is_smoothed_noise(alpha: float, sigma: float) -> None:
    """As SciPy smooths it: as wide, and as alike from pixel to pixel."""
    torch.manual_seed(0)
    field = Elastic(1, alpha, sigma).field(60, 120, CPU).numpy()
    assert field.shape == (60, 120, 120, 2)
    rng = np.random.default_rng(0)
    factors = rng.uniform(0, alpha, 60)
    noise = rng.uniform(-1, 1, (60, 240, 240)).astype(np.float32)
    smooth = gaussian_filter(noise, (0, sigma, sigma), mode="wrap", truncate=3)
    expected = (factors[:, None, None] * smooth)[:, :120, :120]
    assert field.std() == pytest.approx(expected.std(), rel=0.15)
    lag = int(sigma)

    def alike(maps: np.ndarray) -> float:
        return float(np.corrcoef(maps[:, :, lag:].ravel(), maps[:, :, :-lag].ravel())[0, 1])

    assert alike(field[..., 0]) == pytest.approx(alike(expected), abs=0.08)
    assert abs(np.corrcoef(field[..., 0].ravel(), field[..., 1].ravel())[0, 1]) < 0.3
    assert np.abs(field).max() <= Elastic(1, alpha, sigma).reach


def test_some_patches_are_deformed() -> None:
    torch.manual_seed(0)
    straight = Geometry().grid(1, 32, CPU)
    grids = Geometry(elastic=Elastic(p=0.3)).grid(300, 32, CPU)
    deformed = (grids != straight).flatten(1).any(1).float().mean()
    assert 0.2 < deformed < 0.4


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(),
        Geometry(flip=True, scale=(1, 2)),
        Geometry(shear=30),
        Geometry(scale=(0.5, 1), rotation=180, shear=10, flip=True, elastic=Elastic(1, 100, 10)),
    ],
)
def test_no_pixel_comes_from_farther_than_is_said(geometry: Geometry) -> None:
    torch.manual_seed(0)
    farthest = geometry.grid(200, 33, CPU).abs().max()
    assert farthest <= geometry.reach(33)
    assert farthest > 0.5 * geometry.reach(33)
