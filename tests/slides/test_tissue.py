"""Slides made of real tissue on simulated glass, so that it is known where the tissue is."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.data import immunohistochemistry

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays
from napari_nucleus.slides.examples import colon
from napari_nucleus.slides.tissue import Tissue, find_tissue

MPP = 8.0
SHAPE = 600, 800  # 4.8 mm x 6.4 mm
TILE = 32  # 256 µm

Layer = NDArray[np.floating]
"""(H, W, 3) optical density, or a part of the light that passes."""


def density(rgb: NDArray[np.uint8]) -> Layer:
    return -np.log10(np.maximum(rgb, 1) / 255)


def spread(sample: NDArray[np.uint8]) -> Layer:
    """Return the density of a 256 µm sample at 8 µm/px, mirrored until it fills the slide."""
    small = np.asarray(Image.fromarray(sample).resize((32, 32), Image.Resampling.BOX))
    block = np.block([[[small], [small[:, ::-1]]], [[small[::-1]], [small[::-1, ::-1]]]])
    height, width = SHAPE
    return np.tile(density(block), (height // 64 + 1, width // 64 + 1, 1))[:height, :width]


@cache
def blobs() -> NDArray[np.bool_]:
    """Return a quarter of the slide: some large pieces, and small ones of 0.01 mm² or more."""
    rng = np.random.default_rng(0)
    rough = sum(
        weight * (field := ndimage.gaussian_filter(rng.normal(size=SHAPE), sigma)) / field.std()
        for sigma, weight in ((60, 1), (8, 0.12))
    )
    return remove_small(rough > np.quantile(rough, 0.75), 156)


def remove_small(mask: NDArray[np.bool_], area: int) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    return mask & (np.bincount(labels.ravel())[labels] >= area)


@cache
def haematoxylin_and_eosin() -> Layer:
    return spread(colon().read(0, 0, 512, 512))


def fat() -> Layer:
    """Return cells of about 80 µm with membranes of eosin, 3 µm thick."""
    rng = np.random.default_rng(1)
    height, width = SHAPE
    y, x = np.mgrid[:height:10, :width:10] + rng.uniform(1, 9, (2, height // 10, width // 10))
    seeds = np.ones(SHAPE, bool)
    seeds[y.astype(int), x.astype(int)] = False
    row, column = ndimage.distance_transform_edt(seeds, return_distances=False, return_indices=True)
    cell = row * width + column
    membrane = (cell != np.roll(cell, 1, 0)) | (cell != np.roll(cell, 1, 1))
    return membrane[..., None] * 0.4 * np.array([0.03, 0.25, 0.12])


def grey() -> Layer:
    return haematoxylin_and_eosin().mean(axis=2, keepdims=True)


def glass(color: tuple[int, int, int] = (242, 241, 240), falloff: float = 0) -> Layer:
    """Return the light that glass passes, less of it towards the corners."""
    y, x = (np.linspace(-1, 1, size) for size in SHAPE)
    return np.array(color) * (1 - falloff * (y[:, None] ** 2 + x**2) / 2)[..., None]


def photograph(light: Layer, seed: int = 0) -> NDArray[np.uint8]:
    """Return an image with the noise of a camera, compressed as a scanner does."""
    noisy = light + np.random.default_rng(seed).normal(0, 1.5, light.shape)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=75)
    return np.asarray(Image.open(file))


def strokes(color: tuple[float, float, float], *points: tuple[int, int], width: int = 60) -> Layer:
    """Return the density of a stroke of a pen through points (x, y), half a millimetre wide."""
    drawn = cv2.polylines(np.zeros(SHAPE), [np.array(points)], False, 1.0, width)
    grain = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=SHAPE), 6)
    return (cv2.GaussianBlur(drawn, (0, 0), 1.5) * (1 + 4 * grain).clip(0.5))[..., None] * np.array(
        color
    )


GREEN, BLUE, BLACK, RED = (0.6, 0.16, 0.22), (1.4, 1.2, 0.4), (1.2, 1.2, 1.1), (0.06, 1.3, 1.0)
PINK = (0.1, 0.4, 0.2)


def bubbles() -> Layer:
    """Return the density of bubbles out of focus, of dust and of the edge of a cover slip."""
    rng = np.random.default_rng(3)
    dark = np.zeros(SHAPE)
    for _ in range(18):
        x, y, radius = rng.integers(0, 800), rng.integers(0, 600), rng.integers(8, 90)
        cv2.circle(dark, (int(x), int(y)), int(radius), 0.3, int(rng.integers(2, 6)))
    for _ in range(130):
        x, y = rng.integers(0, 800), rng.integers(0, 600)
        cv2.circle(dark, (int(x), int(y)), int(rng.integers(1, 4)), 0.4, -1)
    cv2.line(dark, (0, 30), (800, 40), 0.35, 5)
    return cv2.GaussianBlur(dark, (0, 0), 2)[..., None] * np.array([1, 1, 0.98])


def framed(light: Layer) -> Layer:
    """Return a slide of which two sides were not scanned: one is black, one white."""
    light = light.copy()
    light[:, :100], light[:, -140:] = 0, 255
    return light


def slide_of(light: Layer) -> Slide:
    return slide_from_arrays([photograph(light)], mpp=MPP)


def kept(
    tissue: Tissue, truth: NDArray[np.bool_], beyond: float = 0.1e3 / MPP
) -> tuple[float, float]:
    """Return the shares of the tiles that are kept: of those with tissue, of those without.

    The latter are those with no tissue nearer than `beyond` pixels.
    """
    boxes = [(x, y) for y in range(0, SHAPE[0], TILE) for x in range(0, SHAPE[1], TILE)]
    covered = np.array([tissue.covers(x, y, x + TILE, y + TILE) for x, y in boxes])
    distance = ndimage.distance_transform_edt(~truth)
    nearest = np.array([distance[y : y + TILE, x : x + TILE].min() for x, y in boxes])
    return float(covered[nearest == 0].mean()), float(covered[nearest >= beyond].mean())


def on(light: Layer, stain: Layer, more: Layer | float = 0) -> Layer:
    return light * 10 ** -(blobs()[..., None] * stain + more)


def inks() -> Layer:
    return (
        strokes(GREEN, (30, 130), (400, 40), (770, 200))
        + strokes(BLUE, (40, 570), (270, 470), (730, 560))
        + strokes(BLACK, (730, 70), (600, 330), (770, 470), width=30)
        + strokes(RED, (20, 200), (30, 470), (200, 530))
    )


SLIDES: dict[str, Callable[[], Layer]] = {
    "plain": lambda: on(glass(), haematoxylin_and_eosin()),
    "pale": lambda: on(glass(), 0.3 * haematoxylin_and_eosin()),
    "shaded": lambda: on(glass((225, 222, 215), 0.3), haematoxylin_and_eosin()),
    "dim": lambda: on(glass((150, 146, 147)), haematoxylin_and_eosin()),
    "overexposed": lambda: on(glass((262, 262, 262)), haematoxylin_and_eosin()),
    "fat": lambda: on(glass(), fat()),
    "pale fat": lambda: on(glass(), 0.5 * fat()),
    "grey": lambda: on(glass(falloff=0.2), grey()),
    "pale grey": lambda: on(glass(), 0.3 * grey()),
    "grey with a pink speck": lambda: on(glass(), grey(), strokes(PINK, (400, 300), width=20)),
    "brown": lambda: on(glass(), spread(immunohistochemistry())),
    "blue": lambda: on(glass(), haematoxylin_and_eosin()[..., [1, 0, 2]]),
    "deep blue": lambda: on(glass(), grey() * (2.2, 1.6, 0.55)),
    "unscanned": lambda: framed(on(glass(), haematoxylin_and_eosin())),
}


@pytest.mark.parametrize("name", SLIDES)
def test_tissue_is_kept_and_glass_skipped(name: str) -> None:
    light = SLIDES[name]()
    truth = blobs() & (light > 0).any(axis=2) & (light < 255).any(axis=2)
    tissue = find_tissue(slide_of(light))
    of_tissue, of_glass = kept(tissue, truth)
    assert of_tissue >= 0.995
    assert of_glass <= 0.2


@pytest.mark.parametrize("part", [1, 0.3])
def test_dirt_is_skipped_unless_it_lies_close_to_tissue(part: float) -> None:
    stains = part * haematoxylin_and_eosin()
    light = framed(on(glass((235, 233, 228), 0.2), stains, bubbles() + inks()))
    truth = blobs() & (light > 0).any(axis=2) & (light < 255).any(axis=2)
    of_tissue, of_glass = kept(find_tissue(slide_of(light)), truth, beyond=0.85e3 / MPP)
    assert of_tissue >= 0.995
    assert of_glass <= 0.2


@pytest.mark.parametrize("color", [GREEN, BLUE, BLACK, RED], ids=["green", "blue", "black", "red"])
def test_ink_counts_close_to_tissue_alone(color: tuple[float, float, float]) -> None:
    truth = blobs() & (np.arange(SHAPE[1]) < 100)
    stroke = strokes(color, (20, 150), (700, 100), (700, 500))
    light = glass() * 10 ** -(truth[..., None] * haematoxylin_and_eosin() + stroke)
    mask = find_tissue(slide_of(light)).mask
    distance = ndimage.distance_transform_edt(~truth)
    assert mask[truth].mean() >= 0.995
    assert not mask[distance > 1e3 / MPP].any()


def test_tissue_is_found_under_green_ink() -> None:
    truth = np.zeros(SHAPE, bool)
    truth[285:315, 100:700] = True  # a core biopsy, with a stroke along all of it
    stroke = strokes(GREEN, (50, 300), (750, 300))
    light = glass() * 10 ** -(truth[..., None] * haematoxylin_and_eosin() + stroke)
    assert find_tissue(slide_of(light)).mask[truth].mean() >= 0.995


@pytest.mark.parametrize("part", [1, 0.3, 0.1])
def test_tissue_from_edge_to_edge(part: float) -> None:
    for stain in (haematoxylin_and_eosin(), grey(), fat()):
        assert find_tissue(slide_of(glass() * 10 ** -(part * stain))).share >= 0.995


def test_bare_glass_is_looked_at_as_well() -> None:
    assert find_tissue(slide_of(glass())).share == 1


@pytest.mark.parametrize(("side", "whole"), [(1, True), (249, True), (251, False)])
def test_an_image_of_less_than_4_square_millimetres_counts_as_a_whole(
    side: int, whole: bool
) -> None:
    light = glass()[:side, :side].copy()
    light[: side // 4, : side // 4] *= 0.5, 0.3, 0.4
    tissue = find_tissue(slide_of(light))
    assert tissue.mask.shape == (side, side)
    assert (tissue.share == 1) == whole


def test_a_scattered_cell_is_a_speck_but_a_clump_is_tissue() -> None:
    light = glass().copy()
    light[300:400, 300:400] *= 0.8, 0.5, 0.7
    light[500, 700] *= 0.4, 0.3, 0.6
    light[100:108, 700:708] *= 0.8, 0.5, 0.7
    tissue = find_tissue(slide_of(light))
    assert tissue.mask[350, 350]
    assert tissue.mask[104, 704]
    assert not tissue.mask[500, 700]


def test_the_same_whatever_it_is_read_from(tmp_path: Path) -> None:
    picture = photograph(on(glass(), haematoxylin_and_eosin()))
    full = np.asarray(Image.fromarray(picture).resize((3200, 2400), Image.Resampling.BICUBIC))
    file = tmp_path / "slide.tif"
    with tifffile.TiffWriter(file) as tiff:
        for level in (full, full[::4, ::4]):
            tiff.write(level, tile=(256, 256), photometric="rgb", subfiletype=level is not full)
    first, again = (find_tissue(open_slide(file, mpp=2)) for _ in range(2))
    arrays = find_tissue(slide_from_arrays([full, full[::4, ::4]], mpp=2))
    assert first.digest() == again.digest() == arrays.digest()
    assert first.mask.shape == SHAPE
    assert first.downsample == (4, 4)
    of_tissue, of_glass = kept(Tissue(first.mask, (1, 1)), blobs())
    assert of_tissue >= 0.995
    assert of_glass <= 0.2


def test_a_large_slide_has_a_coarse_overview() -> None:
    light = on(glass(), haematoxylin_and_eosin())
    enlarged = np.tile(photograph(light), (1, 6, 1))  # 38 mm
    tissue = find_tissue(slide_from_arrays([enlarged], mpp=MPP))
    assert tissue.mask.shape == (256, 2048)
    of_tissue, of_glass = kept(tissue, blobs(), beyond=0.2e3 / MPP)
    assert of_tissue >= 0.995
    assert of_glass <= 0.2


def test_an_unknown_pixel_size() -> None:
    with pytest.raises(UserError, match="µm/px"):
        find_tissue(slide_from_arrays([photograph(glass())]))


# The mask


def test_a_box_reaches_three_mask_pixels_further() -> None:
    mask = np.zeros((20, 30), bool)
    mask[10, 15] = True  # rows 100 to 110, columns 120 to 128
    tissue = Tissue(mask, (10, 8))
    assert tissue.share == 1 / 600
    assert tissue.covers(120, 100, 128, 110)
    assert tissue.covers(0, 0, 240, 200)
    assert tissue.covers(90, 60, 97, 70.5)
    assert not tissue.covers(90, 60, 96, 80)  # columns up to 12 + 3
    assert not tissue.covers(90, 60, 97, 70)  # rows up to 7 + 3
    assert tissue.covers(159.9 - 8, 100, 300, 110)
    assert not tissue.covers(152, 100, 300, 110)


def test_a_box_beside_the_image_has_no_tissue() -> None:
    tissue = Tissue(np.ones((20, 30), bool), (10, 8))
    assert tissue.covers(0, 0, 1, 1)
    assert tissue.covers(239, 199, 900, 900)
    assert not tissue.covers(500, 0, 600, 50)
    assert not tissue.covers(-600, 0, -500, 50)


def test_an_edited_mask_is_another() -> None:
    mask = np.ones((6, 9), bool)
    tissue = Tissue(mask, (8, 8))
    mask[2, 3] = False
    assert tissue.share == 1
    assert tissue.digest() == Tissue(np.full((6, 9), 7), (np.float64(8), 8.0)).digest()
    others = [
        Tissue(mask, (8, 8)),
        Tissue(np.ones((9, 6), bool), (8, 8)),
        Tissue(mask | True, (8, 9)),
    ]
    assert len({other.digest() for other in (tissue, *others)}) == 4
    with pytest.raises(ValueError, match="read-only"):
        tissue.mask[0, 0] = False


# Real images


@pytest.mark.parametrize("part", [1, 0.3])
def test_no_annotated_nucleus_is_lost(datasets: Path, part: float) -> None:
    """Images of fat and of pale collagen among them, each alone on a slide of its own glass."""
    lost = 0
    for name in ("01_6", "03_1", "03_4", "03_5", "04_5", "08_2"):
        file = next((datasets / "tnbc" / "images").glob(f"{name}.*"))
        image = np.asarray(Image.open(file).convert("RGB"))
        bright = image.reshape(-1, 3)[image.min(axis=2).ravel() >= np.percentile(image.min(2), 99)]
        white = np.median(bright, axis=0)
        if np.ptp(white) > 25:
            white = np.array([244, 243, 242])
        small = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX))
        light = np.full((300, 300, 3), white, float)
        light[150:166, 150:166] = white * (small / white).clip(0, 1) ** part
        tissue = find_tissue(slide_of(light))
        labels = tifffile.imread(datasets / "tnbc" / "labels" / f"{file.stem}.tif")
        for y, x in ndimage.find_objects(labels):
            box = np.array([x.start, y.start, x.stop, y.stop]) / 32 + 150
            lost += not tissue.covers(*box)
    assert lost == 0
