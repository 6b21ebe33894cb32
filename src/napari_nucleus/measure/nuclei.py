"""Size, shape and stain of every nucleus: the columns of the nuclei table.

Everything is computed from the horizontal runs of pixels of the nuclei, over all nuclei at once:
this stands on the way of every tile, and `skimage.measure.regionprops` takes more than ten times
as long. The definitions are those of `regionprops`, and the tests hold the two together.
"""

import cv2
import numpy as np
import pandas as pd

from napari_nucleus.measure.runs import LabelRuns, label_runs
from napari_nucleus.measure.stain import WHITE, separate_stains

POSITION_COLUMNS = ("centroid_x", "centroid_y", "x0", "y0", "x1", "y1")

_SHAPES = 8
"""So many of the measurements are of shape, the others of stain."""


def measurement_columns(mpp: float | None) -> tuple[str, ...]:
    """Return the names of the measurements, with their unit.

    Parameters
    ----------
    mpp : float or None
        µm per pixel. Where it is not known, lengths and areas are in pixels.

    Examples
    --------
    >>> measurement_columns(0.25)[:2]
    ('area_um2', 'perimeter_um')
    >>> measurement_columns(None)[:2]
    ('area_px2', 'perimeter_px')
    """
    unit = "px" if mpp is None else "um"
    return (
        f"area_{unit}2",
        f"perimeter_{unit}",
        f"major_axis_{unit}",
        f"minor_axis_{unit}",
        "eccentricity",
        "solidity",
        "circularity",
        "orientation_deg",
        "hematoxylin_mean",
        "hematoxylin_std",
        "eosin_mean",
        "eosin_std",
    )


def measure(
    labels: np.ndarray,
    rgb: np.ndarray,
    mpp: float | None = None,
    origin: tuple[int, int] = (0, 0),
    white: tuple[int, int, int] = WHITE,
) -> pd.DataFrame:
    """Measure every nucleus of a label image.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background; numbers may be missing.
    rgb : (H, W, 3) ndarray of uint8
        The image at the same scale.
    mpp : float or None
        µm per pixel; None measures in pixels (see `measurement_columns`).
    origin : tuple of 2 int
        (x, y) of the first pixel in level-0 pixels, added to every position.
    white : tuple of 3 int
        White point of the image (`separate_stains`).

    Returns
    -------
    DataFrame
        One row per label, in ascending order: what `measure_shapes` returns, then mean and standard
        deviation of hematoxylin and eosin, as `separate_stains` has them, over the pixels.

    Raises
    ------
    ValueError
        If the two images differ in size.

    Examples
    --------
    A violet square of 20 px on white:

    >>> labels = np.zeros((40, 40), np.int32)
    >>> labels[10:30, 10:30] = 7
    >>> rgb = np.where(labels[..., None] > 0, (80, 60, 130), 255).astype(np.uint8)
    >>> table = measure(labels, rgb, mpp=0.25)
    >>> table[["label", "centroid_x", "centroid_y", "area_um2"]].to_dict("records")
    [{'label': 7, 'centroid_x': 19.5, 'centroid_y': 19.5, 'area_um2': 25.0}]
    """
    if labels.shape != rgb.shape[:2]:
        raise ValueError(f"labels are {labels.shape} and the image is {rgb.shape[:2]}")
    table, runs = _shapes(labels, mpp, origin)
    stains = zip(
        measurement_columns(mpp)[_SHAPES:], _stain_statistics(labels, rgb, runs, white), strict=True
    )
    return table.assign(**{name: values.astype(np.float32) for name, values in stains})


def measure_shapes(
    labels: np.ndarray, mpp: float | None = None, origin: tuple[int, int] = (0, 0)
) -> pd.DataFrame:
    """Measure size and shape of every nucleus of a label image.

    Parameters
    ----------
    labels : (H, W) ndarray of int
        0 is background; numbers may be missing.
    mpp : float or None
        µm per pixel; None measures in pixels (see `measurement_columns`).
    origin : tuple of 2 int
        (x, y) of the first pixel in level-0 pixels, added to every position.

    Returns
    -------
    DataFrame
        One row per label, in ascending order. Positions are in level-0 pixels, whose centres have
        whole coordinates: `label`, `centroid_x`, `centroid_y`, and the box `x0`, `y0`, `x1`, `y1`,
        half open. Then the columns of `measurement_columns` up to the orientation, as
        `skimage.measure.regionprops` defines them:

        - area: number of pixels times the area of one;
        - perimeter: length of the line through the centres of the border pixels (0 for a single
          pixel);
        - major and minor axis, eccentricity: of the ellipse with the same second moments (a
          nucleus one pixel wide has a minor axis of 0);
        - solidity: area over the number of pixels in its convex hull;
        - circularity: 4π·area / perimeter², at most 1;
        - orientation: degrees from the vertical to the major axis, counter-clockwise as seen on
          the screen, in (-90, 90]; 0 where there is no longer axis.

    References
    ----------
    Benkrid and Crookes (2000), Design and FPGA implementation of a perimeter estimator.
    """
    return _shapes(labels, mpp, origin)[0]


def _shapes(
    labels: np.ndarray, mpp: float | None, origin: tuple[int, int]
) -> tuple[pd.DataFrame, LabelRuns]:
    runs = label_runs(labels)
    area = runs.area
    middle = runs.x + (runs.length - 1) / 2
    center_x, center_y = runs.centroids.T
    dx = middle - center_x[runs.nucleus]
    dy = runs.y - center_y[runs.nucleus]
    # The pixels of a run spread around its middle by (length² - 1) / 12.
    variance_x = runs.sum(runs.length * (dx**2 + (runs.length**2 - 1) / 12)) / area
    variance_y = runs.sum(runs.length * dy**2) / area
    covariance = runs.sum(runs.length * dx * dy) / area
    mean = (variance_x + variance_y) / 2
    half_spread = np.hypot(covariance, (variance_x - variance_y) / 2)
    major = mean + half_spread
    # Rounding may leave a line with a variance just off zero across it.
    minor = np.where(mean - half_spread > 1e-9 * major, mean - half_spread, 0)

    perimeter = _perimeters(labels, runs)
    smallest_perimeter = np.sqrt(4 * np.pi * area)  # that of a disc
    pixel = 1.0 if mpp is None else mpp
    shape = (
        area * pixel**2,
        perimeter * pixel,
        4 * np.sqrt(major) * pixel,
        4 * np.sqrt(minor) * pixel,
        np.sqrt(1 - minor / np.where(major > 0, major, 1)) * (major > 0),
        area / _hull_areas(runs),
        (smallest_perimeter / np.maximum(perimeter, smallest_perimeter)) ** 2,
        np.degrees(0.5 * np.arctan2(2 * covariance + 0.0, variance_y - variance_x)),
    )
    x0, y0, x1, y1 = runs.boxes.T
    table = {
        "label": runs.labels.astype(np.int64),
        "centroid_x": center_x + origin[0],
        "centroid_y": center_y + origin[1],
        "x0": x0 + origin[0],
        "y0": y0 + origin[1],
        "x1": x1 + origin[0],
        "y1": y1 + origin[1],
    }
    values = zip(measurement_columns(mpp)[:_SHAPES], shape, strict=True)
    table |= {name: value.astype(np.float32) for name, value in values}
    return pd.DataFrame(table), runs


def _perimeters(labels: np.ndarray, runs: LabelRuns) -> np.ndarray:
    """Return the perimeters in pixels, each border pixel weighed by its border neighbours."""
    # A frame of background, so that every pixel of a nucleus has eight neighbours in the array.
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    flat = padded.ravel()
    inner = flat[width:-width]
    border = np.zeros(flat.size, bool)
    border[width:-width] = inner != flat[2 * width :]
    border[width:-width] |= inner != flat[: -2 * width]
    border[1:] |= flat[1:] != flat[:-1]
    border[:-1] |= flat[1:] != flat[:-1]
    border &= flat != 0
    pixels = np.flatnonzero(border)
    own = flat[pixels]

    def neighbours(*offsets: int) -> np.ndarray:
        count = np.zeros(len(pixels), int)
        for offset in offsets:
            count += border[pixels + offset] & (flat[pixels + offset] == own)
        return count

    straight = neighbours(-1, 1, -width, width)
    diagonal = neighbours(-width - 1, -width + 1, width - 1, width + 1)
    weights = _PERIMETER_WEIGHTS[straight, diagonal]
    owner = np.searchsorted(runs.labels, own)
    return np.bincount(owner, weights, runs.count)


# Benkrid and Crookes: length that a border pixel adds, by the number of border pixels that touch
# it by a side and by a corner.
_PERIMETER_WEIGHTS = np.zeros((5, 5))
_PERIMETER_WEIGHTS[2:4, :3] = 1
_PERIMETER_WEIGHTS[0, 2] = _PERIMETER_WEIGHTS[1, 3] = np.sqrt(2)
_PERIMETER_WEIGHTS[1, 1] = _PERIMETER_WEIGHTS[1, 2] = (1 + np.sqrt(2)) / 2


def _hull_areas(runs: LabelRuns) -> np.ndarray:
    """Return the number of pixels in the convex hull of each nucleus.

    As in `skimage.morphology.convex_hull_image`, the hull is that of the middles of the pixels'
    sides. In half pixels these are whole numbers, so that the count is exact.
    """
    if not runs.count:
        return np.zeros(0)
    order = np.argsort(runs.nucleus, kind="stable")
    left, y = 2 * runs.x[order], 2 * runs.y[order]
    right = left + 2 * (runs.length[order] - 1)
    corners = [(left - 1, y), (left, y - 1), (left, y + 1)]
    corners += [(right + 1, y), (right, y - 1), (right, y + 1)]
    points = np.stack([np.stack(corner, 1) for corner in corners], 1).astype(np.int32)
    stops = np.cumsum(np.bincount(runs.nucleus))
    starts = np.r_[0, stops[:-1]]
    hulls = [
        cv2.convexHull(points[start:stop].reshape(-1, 2))[:, 0]
        for start, stop in zip(starts, stops, strict=True)
    ]
    sizes = np.array([len(hull) for hull in hulls])
    owner = np.repeat(np.arange(runs.count), sizes)
    ends = np.concatenate([np.roll(hull, -1, 0) for hull in hulls]).astype(np.int64)
    begins = np.concatenate(hulls).astype(np.int64)

    # Cut every side of the hulls, from its upper to its lower end, by the rows of pixels that it
    # crosses; the outermost whole pixels on either side bound the row.
    falls = (begins[:, 1] <= ends[:, 1])[:, None]
    upper, lower = np.where(falls, begins, ends), np.where(falls, ends, begins)
    first = _ceil_divide(upper[:, 1], 2)
    crossed = np.where(upper[:, 1] == lower[:, 1], 0, lower[:, 1] // 2 - first + 1)
    side = np.repeat(np.arange(len(upper)), crossed)
    row = np.arange(len(side)) + np.repeat(first - np.cumsum(crossed) + crossed, crossed)
    (x_a, y_a), (x_b, y_b) = upper[side].T, lower[side].T
    numerator = x_a * (y_b - y_a) + (2 * row - y_a) * (x_b - x_a)
    denominator = 2 * (y_b - y_a)

    top, bottom = runs.boxes[:, 1], runs.boxes[:, 3]
    height = bottom - top
    offset = np.cumsum(height) - height
    slot = (offset - top)[owner[side]] + row
    leftmost = np.full(height.sum(), np.iinfo(np.int64).max)
    rightmost = np.full(height.sum(), np.iinfo(np.int64).min)
    np.minimum.at(leftmost, slot, _ceil_divide(numerator, denominator))
    np.maximum.at(rightmost, slot, numerator // denominator)
    return np.add.reduceat(rightmost - leftmost + 1, offset)


def _ceil_divide(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    return -(-a // b)


def _stain_statistics(
    labels: np.ndarray, rgb: np.ndarray, runs: LabelRuns, white: tuple[int, int, int]
) -> list[np.ndarray]:
    """Return mean and standard deviation of hematoxylin, then of eosin."""
    stains = separate_stains(rgb[labels != 0], white)
    owner, area = np.repeat(runs.nucleus, runs.length), runs.area
    statistics = []
    for values in (stains[:, 0], stains[:, 1]):
        mean = np.bincount(owner, values, runs.count) / area
        variance = np.bincount(owner, (values - mean[owner]) ** 2, runs.count) / area
        statistics += [mean, np.sqrt(variance)]
    return statistics
