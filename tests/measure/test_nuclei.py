import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2hed
from skimage.measure import regionprops_table

from napari_nucleus.measure import measure, measurement_columns

IN_REGIONPROPS = {
    "area_px2": "area",
    "perimeter_px": "perimeter",
    "major_axis_px": "axis_major_length",
    "minor_axis_px": "axis_minor_length",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
    "orientation_deg": "orientation",
    "centroid_x": "centroid-1",
    "centroid_y": "centroid-0",
    "x0": "bbox-1",
    "y0": "bbox-0",
    "x1": "bbox-3",
    "y1": "bbox-2",
}


def ellipses(count: int = 300, size: int = 400) -> np.ndarray:
    """Nuclei that touch, cover and cut each other, down to crumbs of one pixel."""
    rng = np.random.default_rng(3)
    labels = np.zeros((size, size + 50), np.int32)
    for label in range(1, count + 1):
        center, axes = rng.integers(0, size + 50, 2).tolist(), rng.integers(2, 18, 2).tolist()
        cv2.ellipse(labels, center, axes, rng.uniform(0, 180), 0, 360, 3 * label, -1)
    return labels


def noise() -> np.ndarray:
    """Ragged, hollow, scattered nuclei."""
    rng = np.random.default_rng(4)
    blocks = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((11, 13), int))
    return np.where(rng.random(blocks.shape) < 0.6, blocks, 0).astype(np.uint16)


def picture(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)


def solid(mask: np.ndarray, mpp: float | None = None) -> pd.Series:
    labels = np.pad(mask, 3).astype(np.int32)
    return measure(labels, picture(labels), mpp).iloc[0]


@pytest.mark.parametrize("labels", [ellipses(), noise()], ids=["ellipses", "noise"])
def test_defined_as_in_regionprops(labels: np.ndarray) -> None:
    rgb = picture(labels)
    table = measure(labels, rgb)
    properties = ["label", "centroid", "bbox", *list(IN_REGIONPROPS.values())[:7]]
    expected = pd.DataFrame(regionprops_table(labels, properties=properties))

    np.testing.assert_array_equal(table["label"], expected["label"])
    for ours, theirs in IN_REGIONPROPS.items():
        if ours != "orientation_deg":
            np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-6, err_msg=ours)
    turned = table["orientation_deg"] - np.degrees(expected["orientation"])
    has_axis = table["major_axis_px"] > table["minor_axis_px"] * 1.000001
    assert has_axis.mean() > 0.9
    np.testing.assert_allclose((turned[has_axis] + 90) % 180 - 90, 0, atol=1e-3)

    hed = 6 * rgb2hed(rgb.clip(min=1))  # in units of the density of 1e-6 there
    for channel, stain in enumerate(["hematoxylin", "eosin"]):
        pixels = [hed[labels == label][:, channel] for label in table["label"]]
        np.testing.assert_allclose(
            table[f"{stain}_mean"], [p.mean() for p in pixels], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            table[f"{stain}_std"], [p.std() for p in pixels], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("angle", [-75, -30, 0, 20, 45, 90])
def test_axes_and_orientation_of_an_ellipse(angle: int) -> None:
    y, x = np.mgrid[-70:71, -70:71]
    # Counter-clockwise from the vertical, on a screen whose y goes down.
    turn = np.radians(angle)
    along, across = x * np.sin(turn) + y * np.cos(turn), x * np.cos(turn) - y * np.sin(turn)
    nucleus = solid((along / 60) ** 2 + (across / 25) ** 2 <= 1, mpp=0.5)
    assert (nucleus["orientation_deg"] - angle + 90) % 180 - 90 == pytest.approx(0, abs=0.2)
    assert nucleus["major_axis_um"] == pytest.approx(60, rel=0.02)
    assert nucleus["minor_axis_um"] == pytest.approx(25, rel=0.02)
    assert nucleus["area_um2"] == pytest.approx(np.pi * 30 * 12.5, rel=0.02)
    assert nucleus["eccentricity"] == pytest.approx(np.sqrt(1 - (25 / 60) ** 2), rel=0.01)


def test_disc_and_square() -> None:
    y, x = np.mgrid[-40:41, -40:41]
    disc, square = solid(x**2 + y**2 <= 40**2), solid(np.ones((30, 30)))
    assert disc["perimeter_px"] == pytest.approx(2 * np.pi * 40, rel=0.06)
    assert disc["circularity"] == pytest.approx(1, abs=0.1)
    assert disc["orientation_deg"] == 0
    assert disc["solidity"] > 0.98
    assert square["perimeter_px"] == 4 * 29
    assert square["circularity"] == pytest.approx(4 * np.pi * 900 / 116**2)
    assert square["solidity"] == 1
    assert square["orientation_deg"] == 0


def test_one_pixel() -> None:
    nucleus = solid(np.ones((1, 1)))
    assert np.isfinite(nucleus).all()
    assert nucleus[["area_px2", "solidity", "circularity"]].tolist() == [1, 1, 1]
    shape = ["perimeter_px", "major_axis_px", "minor_axis_px", "eccentricity", "orientation_deg"]
    assert nucleus[shape].tolist() == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("mask", "angle"),
    [
        (np.ones((1, 20)), 90),
        (np.ones((20, 1)), 0),
        (np.eye(20), 45),
        (np.eye(20)[::-1], -45),
    ],
)
def test_lines(mask: np.ndarray, angle: int) -> None:
    nucleus = solid(mask)
    assert np.isfinite(nucleus).all()
    assert nucleus["area_px2"] == 20
    assert nucleus["minor_axis_px"] == 0
    assert nucleus["eccentricity"] == 1
    assert nucleus["solidity"] == 1
    assert nucleus["orientation_deg"] == pytest.approx(angle)
    assert 0 < nucleus["circularity"] <= 1


def test_micrometres_and_origin() -> None:
    labels = ellipses(50)
    rgb = picture(labels)
    pixels, micrometres = measure(labels, rgb), measure(labels, rgb, 0.25, origin=(1000, 20))
    assert list(pixels)[7:] == list(measurement_columns(None))
    assert list(micrometres)[7:] == list(measurement_columns(0.25))
    np.testing.assert_allclose(micrometres["area_um2"], pixels["area_px2"] / 16)
    for length in ["perimeter", "major_axis", "minor_axis"]:
        np.testing.assert_allclose(micrometres[f"{length}_um"], pixels[f"{length}_px"] / 4)
    np.testing.assert_array_equal(micrometres[["x0", "x1"]], pixels[["x0", "x1"]] + 1000)
    np.testing.assert_array_equal(micrometres[["y0", "y1"]], pixels[["y0", "y1"]] + 20)
    np.testing.assert_allclose(micrometres["centroid_x"], pixels["centroid_x"] + 1000)
    np.testing.assert_allclose(micrometres["centroid_y"], pixels["centroid_y"] + 20)


def test_one_nucleus_over_the_whole_image_with_the_largest_label() -> None:
    labels = np.full((7, 9), np.iinfo(np.int32).max, np.int32)
    nucleus = measure(labels, picture(labels)).iloc[0]
    assert nucleus["label"] == np.iinfo(np.int32).max
    assert nucleus[["x0", "y0", "x1", "y1"]].tolist() == [0, 0, 9, 7]
    assert nucleus["perimeter_px"] == 2 * (6 + 8)


def test_no_nuclei_give_the_same_columns() -> None:
    labels = np.zeros((20, 30), np.int32)
    empty = measure(labels, picture(labels), 0.5)
    labels[3:9, 4:8] = 1
    full = measure(labels, picture(labels), 0.5)
    assert len(empty) == 0
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)


def test_image_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(5, 4\)"):
        measure(np.zeros((4, 5), int), np.zeros((5, 4, 3), np.uint8))
