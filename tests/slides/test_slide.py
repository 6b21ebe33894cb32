import hashlib
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, digest, open_slide, slide_from_arrays

WHITE = 255


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return colours that change slowly, as JPEG keeps them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(slide: Slide) -> NDArray[np.uint8]:
    height, width = slide.shape
    return slide.read(0, 0, width, height)


# Files that are decoded at once


def test_png(tmp_path: Path) -> None:
    image = noise(70, 90)
    Image.fromarray(image).save(tmp_path / "tissue.png")
    slide = open_slide(tmp_path / "tissue.png")
    assert slide.name == "tissue"
    assert slide.path == tmp_path / "tissue.png"
    assert slide.shape == (70, 90)
    assert slide.downsamples == (1,)
    assert slide.mpp is None
    np.testing.assert_array_equal(whole(slide), image)
    np.testing.assert_array_equal(slide.levels[0].compute(), image)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(smooth(64, 80)).convert(mode)
    picture.save(tmp_path / "tissue.jpg", quality=95)
    seen = whole(open_slide(tmp_path / "tissue.jpg")).astype(int)
    assert np.abs(seen - np.asarray(picture.convert("RGB"))).max() < 12


def test_a_suffix_that_lies(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "tissue.png", format="jpeg", quality=100)
    assert open_slide(tmp_path / "tissue.png").shape == (8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_png_of_few_colors(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(smooth(30, 40)).convert(mode)
    picture.save(tmp_path / "tissue.png")
    np.testing.assert_array_equal(
        whole(open_slide(tmp_path / "tissue.png")), np.asarray(picture.convert("RGB"))
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_png_over_white(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(smooth(30, 256)).convert(mode)
    picture.putalpha(Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (30, 1))))
    picture.save(tmp_path / "tissue.png")
    white = Image.new("RGBA", picture.size, "white")
    expected = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    seen = whole(open_slide(tmp_path / "tissue.png")).astype(int)
    assert np.abs(seen - np.asarray(expected)).max() <= 1
    assert (seen[:, 0] == WHITE).all()


@pytest.mark.parametrize("samples", [(), (3,)])
def test_png_of_16_bits_is_scaled(tmp_path: Path, samples: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 2**16, (30, 40, *samples), dtype=np.uint16)
    (tmp_path / "tissue.png").write_bytes(imagecodecs.png_encode(image))
    expected = np.rint(image / 257)
    if not samples:
        expected = np.stack([expected] * 3, axis=-1)
    np.testing.assert_array_equal(whole(open_slide(tmp_path / "tissue.png")), expected)


def test_12_bits_in_16_are_refused(tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 2**12, (30, 40, 3), dtype=np.uint16)
    (tmp_path / "tissue.png").write_bytes(imagecodecs.png_encode(image))
    with pytest.raises(UserError, match=r"reach only 40\d\d of 65535: save it as 8-bit RGB"):
        open_slide(tmp_path / "tissue.png")


def test_levels_are_means(tmp_path: Path) -> None:
    image = noise(1101, 2050)
    Image.fromarray(image).save(tmp_path / "tissue.png")
    slide = open_slide(tmp_path / "tissue.png")
    assert [level.shape for level in slide.levels] == [
        (1101, 2050, 3),
        (551, 1025, 3),
        (276, 513, 3),
    ]
    assert slide.downsamples == (1, 2, 4)
    means = image[:1100].reshape(550, 2, 1025, 2, 3).mean(axis=(1, 3))
    level = slide.levels[1].compute()
    assert np.abs(level[:550] - means).max() <= 0.5
    # The last row has no partner.
    means = image[1100].reshape(1025, 2, 3).mean(axis=1)
    assert np.abs(level[550] - means).max() <= 0.5


def test_resolution_of_pictures(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(8, 8))
    picture.save(tmp_path / "screen.png", dpi=(96, 96))
    picture.save(tmp_path / "print.jpg", dpi=(300, 300))
    picture.save(tmp_path / "microscope.png", dpi=(25400 / 0.25, 25400 / 0.25))
    assert open_slide(tmp_path / "screen.png").mpp is None
    assert open_slide(tmp_path / "print.jpg").mpp is None
    assert open_slide(tmp_path / "microscope.png").mpp == pytest.approx(0.25, rel=1e-4)
    assert open_slide(tmp_path / "microscope.png", mpp=0.5).mpp == 0.5


# Bad input


def test_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.tif").write_text("no image at all")
    Image.fromarray(noise(200, 200)).save(tmp_path / "whole.png")
    Image.fromarray(noise(200, 200)).save(tmp_path / "whole.jpg")
    Image.fromarray(noise(8, 8)).save(tmp_path / "tissue.gif")
    for suffix in ("png", "jpg"):
        data = (tmp_path / f"whole.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
        (tmp_path / f"begun.{suffix}").write_bytes(data[:12])
    for name, reason in {
        "missing.png": "does not exist",
        ".": "is a folder",
        "empty.png": "is empty",
        "notes.tif": "is not PNG, JPEG, TIFF",
        "tissue.gif": "is not PNG, JPEG, TIFF",
        "cut.png": r"is damaged, truncated or not supported \(Pillow: ",
        "cut.jpg": r"is damaged, truncated or not supported \(Pillow: ",
        "begun.png": r"is damaged, truncated or not supported \(Pillow: ",
        "begun.jpg": r"is damaged, truncated or not supported \(Pillow: ",
    }.items():
        with pytest.raises(UserError, match=reason) as caught:
            open_slide(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_picture_larger_than_memory(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in [(b"IHDR", header), (b"IDAT", zlib.compress(b""))]:
        png += (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )
    (tmp_path / "huge.png").write_bytes(png)
    with pytest.raises(UserError, match="too large for PNG or JPEG: save it as a tiled"):
        open_slide(tmp_path / "huge.png")


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf")])
def test_no_size_of_a_pixel(mpp: float) -> None:
    with pytest.raises(UserError, match="not a plausible pixel size"):
        slide_from_arrays([noise(8, 8)], mpp=mpp)


# Arrays


def test_arrays_of_a_layer() -> None:
    image = noise(400, 500)
    slide = slide_from_arrays([image, da.from_array(image[::2, ::2])], mpp=0.5, name="layer")
    assert (slide.name, slide.path, slide.mpp) == ("layer", None, 0.5)
    assert slide.downsamples == (1, 2)
    np.testing.assert_array_equal(whole(slide), image)
    np.testing.assert_array_equal(slide.read(3, 5, 20, 10, level=1), image[10:30:2, 6:46:2])


def test_grey_and_transparent_arrays() -> None:
    image = noise(20, 30)
    grey = whole(slide_from_arrays([image[..., 0]]))
    assert all((grey[..., channel] == image[..., 0]).all() for channel in range(3))
    glass = np.dstack([image, np.zeros((20, 30), np.uint8)])
    assert (whole(slide_from_arrays([glass])) == WHITE).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((5, 20, 30), np.uint8), "not a plane of RGB"),
        (np.zeros((20, 30, 2), np.uint8), "not a plane of RGB"),
        (np.zeros((0, 30, 3), np.uint8), "empty"),
        (np.zeros((20, 30, 3), np.float32), "type float32: save it as 8-bit RGB"),
        (np.zeros((20, 30), np.int32), "type int32: save it as 8-bit RGB"),
    ],
)
def test_arrays_that_are_refused(array: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        slide_from_arrays([array])


def test_digest(tmp_path: Path) -> None:
    image = noise(20, 30)
    Image.fromarray(image).save(tmp_path / "tissue.png")
    digest = hashlib.sha256((tmp_path / "tissue.png").read_bytes()).hexdigest()
    assert open_slide(tmp_path / "tissue.png").digest() == digest
    other = image.copy()
    other[-1, -1, -1] ^= 1
    digests = [slide_from_arrays([array]).digest() for array in (image, image.copy(), other)]
    assert digests[0] == digests[1] != digests[2]
    # The same bytes of another shape are another image.
    assert slide_from_arrays([image.reshape(30, 20, 3)]).digest() != digests[0]


def source(digest: str) -> dict[str, Any]:
    return {"path": None, "sha256": digest}


def test_a_large_file_is_identified_by_parts_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it lies, and whenever it was copied; any change of compressed tiles is seen."""
    monkeypatch.setattr(digest, "WHOLE", 2**20)
    path = tmp_path / "large.tif"
    image = noise(1500, 1500)
    options: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "zstd"}
    tifffile.imwrite(path, image, **options)
    monkeypatch.setattr(digest, "_END", 2**10)
    monkeypatch.setattr(digest, "_BLOCK", 2**6)
    sampled = digest.file_digest(path)
    assert sampled.startswith("sampled-")
    assert digest.file_digest(path, whole=True) == hashlib.sha256(path.read_bytes()).hexdigest()
    copy = tmp_path / "copy.svs"
    copy.write_bytes(path.read_bytes())
    os.utime(copy, (0, 0))
    assert digest.file_digest(copy) == sampled
    image[700:720, 800:820] = 0
    tifffile.imwrite(path, image, **options)
    assert digest.file_digest(path) != sampled
    with path.open("ab") as file:
        file.write(b"more")
    assert digest.file_digest(path) not in (sampled, digest.file_digest(copy))


def test_a_large_file_that_is_no_tiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "WHOLE", 2**20)
    data = bytearray(np.random.default_rng(0).bytes(10 * 2**20))
    (tmp_path / "slide.dat").write_bytes(data)
    digests = {digest.file_digest(tmp_path / "slide.dat")}
    for place in (0, len(data) // 2 - 10, len(data) - 1):
        changed = bytearray(data)
        part = slice(max(place - 2**18, 0), place + 2**18)
        changed[part] = bytes(len(changed[part]))
        (tmp_path / "slide.dat").write_bytes(changed)
        digests.add(digest.file_digest(tmp_path / "slide.dat"))
    assert len(digests) == 4


def test_results_of_earlier_versions_know_their_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "WHOLE", 2**10)
    monkeypatch.setattr(digest, "_END", 2**8)
    monkeypatch.setattr(digest, "_BLOCK", 2**6)
    Image.fromarray(noise(20, 30)).save(tmp_path / "tissue.png")
    slide = open_slide(tmp_path / "tissue.png")
    assert slide.matches(slide.source())
    assert slide.matches(source(hashlib.sha256((tmp_path / "tissue.png").read_bytes()).hexdigest()))
    for other in ("0" * 64, "sampled-" + "0" * 64):
        assert not slide.matches(source(other))


def test_a_large_image_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_nucleus.slides.slide._WHOLE_PIXELS", 2**20)
    image = noise(900, 1200)
    slide, same = slide_from_arrays([image]), slide_from_arrays([image.copy()])
    assert slide.digest().startswith("sampled-")
    assert slide.matches(same.source())
    assert slide.matches(source(same.digest(whole=True)))
    assert not slide_from_arrays([noise(1200, 900)]).matches(same.source())
    image[800:, 1100:] ^= 1
    assert not slide_from_arrays([image]).matches(same.source())


# Reading


def test_read_is_white_outside() -> None:
    image = noise(20, 30)
    slide = slide_from_arrays([image])
    padded = np.pad(image, ((80, 80), (80, 80), (0, 0)), constant_values=WHITE)
    for x, y in [(-5, -7), (25, 15), (-40, 0), (40, 30), (0, 0), (-2, -2)]:
        expected = padded[y + 80 : y + 105, x + 80 : x + 115]
        np.testing.assert_array_equal(slide.read(x, y, 35, 25), expected)
    assert (slide.read(10**7, -(10**7), 6, 4) == WHITE).all()


def ramps(size: int, levels: int) -> Slide:
    """Return a slide of red that rises to the right and green that rises downwards."""
    arrays = []
    for level in range(levels):
        centre = (np.arange(size // 2**level) + 0.5) * 2**level
        ramp = centre * 250 / size
        x, y = np.meshgrid(ramp, ramp)
        arrays.append(np.rint(np.stack([x, y, x], axis=-1)).astype(np.uint8))
    return slide_from_arrays(arrays)


@pytest.mark.parametrize("scale", [0.25, 0.73, 1, 1.37, 2, 2.9, 4, 5.5])
def test_read_scaled_is_exactly_aligned(scale: float) -> None:
    size = 240
    slide = ramps(size, levels=3)
    width, height = int(170 / scale), int(150 / scale)
    biases = []
    # From many corners, as from one alone rounding to 8 bits may be lopsided.
    for shift in np.linspace(0, 4, 17, endpoint=False):
        x0, y0 = 21.1 + shift, 33.1 + shift
        seen = slide.read_scaled((x0, y0, x0 + width * scale, y0 + height * scale), (width, height))
        assert seen.shape == (height, width, 3)
        expected_x = (x0 + (np.arange(width) + 0.5) * scale) * 250 / size
        expected_y = (y0 + (np.arange(height) + 0.5) * scale) * 250 / size
        errors = seen[..., 0] - expected_x, seen[..., 1] - expected_y[:, np.newaxis]
        assert np.abs(errors[0]).max() < 1.1
        assert np.abs(errors[1]).max() < 1.1
        biases.append([error.mean() for error in errors])
    assert np.abs(np.mean(biases, axis=0)).max() < 0.05  # about as many pixels aside


@pytest.mark.parametrize("scale", [0.25, 0.73, 1.37, 2.0, 3.3, 6.1])
def test_overlapping_boxes_agree(scale: float) -> None:
    image = noise(600, 800)
    slide = slide_from_arrays([image, image[::2, ::2], image[::4, ::4]])
    size = 96
    for x0, y0 in [(-3.7, 11.9), (2.3, -0.6), (10.1, 20.4), (-40.9, -50.2), (8, 4)]:
        one = slide.read_scaled((x0, y0, x0 + size * scale, y0 + size * scale), (size, size))
        x1, y1 = x0 + 41 * scale, y0 + 17 * scale
        other = slide.read_scaled((x1, y1, x1 + 80 * scale, y1 + 90 * scale), (80, 90))
        difference = one[17:, 41:].astype(int) - other[: size - 17, : size - 41]
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("scale", [0.5, 1.37, 3.0])
def test_read_scaled_at_the_border(scale: float) -> None:
    image = noise(90, 110)
    padded = np.pad(image, ((64, 64), (64, 64), (0, 0)), constant_values=WHITE)
    for x0, y0 in [(-20.5, -8.25), (80.1, 70.7), (-20.5, 70.7)]:
        box = (x0, y0, x0 + 40 * scale, y0 + 30 * scale)
        moved = (box[0] + 64, box[1] + 64, box[2] + 64, box[3] + 64)
        seen = slide_from_arrays([image]).read_scaled(box, (40, 30)).astype(int)
        expected = slide_from_arrays([padded]).read_scaled(moved, (40, 30))
        assert np.abs(seen - expected).max() <= 1


def test_read_scaled_by_one_is_read() -> None:
    slide = slide_from_arrays([noise(90, 110)])
    np.testing.assert_array_equal(
        slide.read_scaled((-5, 7, 45, 100), (50, 93)), slide.read(-5, 7, 50, 93)
    )


@pytest.mark.parametrize(
    ("scale", "level"), [(0.5, 0), (1, 0), (1.99, 0), (2, 1), (3.99, 1), (4, 2), (40, 2)]
)
def test_read_scaled_takes_the_coarsest_level_that_is_fine_enough(scale: float, level: int) -> None:
    slide = slide_from_arrays(
        [np.full((400 >> index, 800 >> index, 3), 50 * index, np.uint8) for index in range(3)]
    )
    seen = slide.read_scaled((100, 100, 100 + 6 * scale, 100 + 6 * scale), (6, 6))
    assert (seen == 50 * level).all()


def test_thumbnail() -> None:
    image = smooth(300, 1200)
    slide = slide_from_arrays([image])
    expected = Image.fromarray(image).resize((400, 100), Image.Resampling.BOX)
    thumbnail = slide.thumbnail(400)
    assert thumbnail.shape == (100, 400, 3)
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(thumbnail[inner].astype(int) - np.asarray(expected)[inner]).max() <= 4
    assert slide.thumbnail(5000).shape == (300, 1200, 3)


def test_reading_from_threads() -> None:
    image = noise(1500, 1300)
    slide = slide_from_arrays([image])
    corners = np.random.default_rng(0).integers(0, 1200, (40, 2)).tolist()
    with ThreadPoolExecutor(8) as pool:
        seen = pool.map(lambda corner: slide.read(corner[0], corner[1], 90, 80), corners)
    for (x, y), pixels in zip(corners, seen, strict=True):
        np.testing.assert_array_equal(pixels, image[y : y + 80, x : x + 90])


def test_a_real_svs(datasets: Path) -> None:
    path = datasets / "wsi" / "CMU-1-Small-Region.svs"
    slide = open_slide(path)
    assert slide.shape == (2967, 2220)
    assert slide.mpp == 0.499
    # The scanner keeps a thumbnail of its own, which is the witness of colour and place.
    witness = tifffile.imread(path, series=1)
    height, width, _ = witness.shape
    seen = slide.read_scaled((0, 0, 2220, 2967), (width, height))
    assert np.abs(seen.astype(int) - witness).mean() < 5
    moved = slide.read_scaled((4, 0, 2224, 2967), (width, height))
    assert np.abs(moved.astype(int) - witness).mean() > 9
