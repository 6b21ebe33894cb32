"""Every kind of TIFF through `open_slide`: files are written by tifffile, the truth is known."""

import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, open_slide


def noise(height: int, width: int, samples: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, samples), dtype=np.uint8)


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """Return colours that change slowly, as JPEG keeps them."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def whole(slide: Slide, level: int = 0) -> NDArray[np.uint8]:
    height, width, _ = slide.levels[level].shape
    return slide.read(0, 0, width, height, level)


def assert_close(seen: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Compare what went through JPEG."""
    difference = np.abs(seen.astype(int) - expected)
    assert difference.max() < 24
    assert difference.mean() < 2


def written(path: Path, image: NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, image, **options)
    return path


@pytest.mark.parametrize(
    ("tag", "white"),
    [
        ((0, 1, 240, 1, 0, 1, 238, 1, 0, 1, 460, 2), (240, 238, 230)),
        ((0, 1, 240, 0, 0, 1, 238, 1, 0, 1, 230, 1), (255, 255, 255)),
        ((0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1), (255, 255, 255)),
        (None, (255, 255, 255)),
    ],
    ids=["known", "divided by zero", "glass cannot be that dark", "unknown"],
)
def test_white_point(tmp_path: Path, tag: tuple[int, ...] | None, white: tuple[int, ...]) -> None:
    tags = [] if tag is None else [("ReferenceBlackWhite", "2I", 6, tag, True)]
    assert open_slide(written(tmp_path / "a.tif", noise(40, 50), extratags=tags)).white == white


# How it is stored

STORAGES: list[dict[str, Any]] = [
    {},
    {"tile": (64, 96)},
    {"tile": (64, 96), "compression": "zlib", "predictor": True},
    {"compression": "lzw", "rowsperstrip": 7},
    {"rowsperstrip": 16},
    {"compression": "zstd", "rowsperstrip": 100_000},
    {"tile": (48, 48), "compression": "jpeg2000"},
    {"bigtiff": True, "tile": (256, 256)},
    {"byteorder": ">", "tile": (64, 64)},
    {"byteorder": ">"},
]


@pytest.mark.parametrize("options", STORAGES, ids=str)
def test_storage(tmp_path: Path, options: dict[str, Any]) -> None:
    image = noise(1300, 400)
    slide = open_slide(written(tmp_path / "tissue.tif", image, photometric="rgb", **options))
    assert slide.shape == (1300, 400)
    np.testing.assert_array_equal(whole(slide), image)
    np.testing.assert_array_equal(slide.read(333, 501, 20, 30), image[501:531, 333:353])


@pytest.mark.parametrize("options", [{}, {"tile": (64, 96)}, {"compression": "zlib"}], ids=str)
@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_planar_is_contiguous(tmp_path: Path, options: dict[str, Any], suffix: str) -> None:
    image = noise(1300, 400)
    planar = np.moveaxis(image, -1, 0)
    ome = {"metadata": {"axes": "CYX"}} if suffix == ".ome.tif" else {}
    path = tmp_path / f"planar{suffix}"
    written(path, planar, photometric="rgb", planarconfig="separate", **options, **ome)
    slide = open_slide(path)
    assert slide.name == "planar"
    np.testing.assert_array_equal(whole(slide), image)


def jpeg(image: NDArray[np.uint8], **options: Any) -> bytes:
    """Return what Pillow makes of it, so that a second library is the witness."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_in_tiff(tmp_path: Path, photometric: str) -> None:
    """Tiles are YCbCr, as libtiff writes them, or RGB, as Aperio does."""
    image = smooth(128, 192)
    tiles = [
        jpeg(image[y : y + 64, x : x + 64], keep_rgb=photometric == "rgb")
        for y in (0, 64)
        for x in (0, 64, 128)
    ]
    with tifffile.TiffWriter(tmp_path / "tissue.tif") as tif:
        tif.write(
            iter(tiles),
            shape=image.shape,
            dtype=np.uint8,
            tile=(64, 64),
            photometric=photometric,
            compression="jpeg",
        )
    slide = open_slide(tmp_path / "tissue.tif")
    assert_close(whole(slide), image)
    first = np.asarray(Image.open(io.BytesIO(tiles[0]))).astype(int)
    assert np.abs(slide.read(0, 0, 64, 64) - first).max() <= 2


def test_pillow_writes_what_we_read(tmp_path: Path) -> None:
    image = noise(50, 60)
    for number, compression in enumerate([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"]):
        path = tmp_path / f"{number}.tif"
        Image.fromarray(image).save(path, compression=compression)
        np.testing.assert_array_equal(whole(open_slide(path)), image)


# What a pixel means


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_grey(tmp_path: Path, photometric: str, dtype: type) -> None:
    top = np.iinfo(dtype).max if dtype is not bool else 1
    image: NDArray[Any] = np.random.default_rng(0).integers(0, top + 1, (40, 56)).astype(dtype)
    image[0, :2] = 0, top
    path = written(tmp_path / "grey.tif", image, photometric=photometric)
    expected = np.rint(image * (255 / top))
    if photometric == "miniswhite":
        expected = 255 - expected
    seen = whole(open_slide(path)).astype(int)
    assert np.abs(seen - expected[..., np.newaxis]).max() <= (1 if dtype is np.uint16 else 0)
    assert {0, 255} <= set(seen.flat)


@pytest.mark.parametrize("bits", [4, 10, 12])
def test_packed_bits_are_scaled_by_their_range(tmp_path: Path, bits: int) -> None:
    dtype = np.uint8 if bits < 8 else np.uint16
    image = np.random.default_rng(0).integers(0, 2**bits, (40, 56), dtype=dtype)
    packed = bytes(imagecodecs.packints_encode(image, bits))
    path = tmp_path / "packed.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter([packed]),
            shape=image.shape,
            dtype=dtype,
            bitspersample=bits,
            rowsperstrip=40,
            photometric="minisblack",
            compression="none",
        )
    expected = np.rint(image * (255 / (2**bits - 1)))
    np.testing.assert_array_equal(whole(open_slide(path))[..., 0], expected)


def test_16_bit_color(tmp_path: Path) -> None:
    image = np.random.default_rng(2).integers(0, 2**16, (30, 40, 3), dtype=np.uint16)
    path = written(tmp_path / "deep.tif", image, photometric="rgb", tile=(16, 16))
    np.testing.assert_array_equal(whole(open_slide(path)), np.rint(image / 257))
    written(path, image >> 4, photometric="rgb", tile=(16, 16))
    with pytest.raises(UserError, match=r"reach only 40\d\d of 65535: save it as 8-bit RGB"):
        open_slide(path)


def test_opacity_is_over_white(tmp_path: Path) -> None:
    image = noise(40, 256, 4)
    image[..., 3] = np.arange(256)
    opacity = image[..., 3:] / 255
    path = written(tmp_path / "rgba.tif", image, photometric="rgb", extrasamples=["unassalpha"])
    expected = image[..., :3] * opacity + 255 * (1 - opacity)
    assert np.abs(whole(open_slide(path)) - expected).max() <= 0.5

    multiplied = image.copy()
    multiplied[..., :3] = np.rint(image[..., :3] * opacity)
    written(path, multiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(whole(open_slide(path)) - expected).max() <= 1

    # What is not said to be opacity is none.
    written(path, image, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(whole(open_slide(path)), image[..., :3])


def test_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(smooth(40, 50)).convert("P", palette=Image.Palette.ADAPTIVE)
    picture.save(tmp_path / "palette.tif")
    seen = whole(open_slide(tmp_path / "palette.tif"))
    np.testing.assert_array_equal(seen, np.asarray(picture.convert("RGB")))


def test_luma_and_chroma_without_jpeg(tmp_path: Path) -> None:
    picture = Image.fromarray(smooth(40, 50)).convert("YCbCr")
    path = tmp_path / "ycbcr.tif"
    written(path, np.asarray(picture), photometric="ycbcr", subsampling=(1, 1), tile=(16, 16))
    expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(whole(open_slide(path)) - expected).max() <= 1


def test_luma_and_chroma_of_aperio(tmp_path: Path) -> None:
    """Aperio keeps YCbCr in JPEG 2000 and calls it RGB; the number of the codec tells."""
    picture = Image.fromarray(smooth(64, 64)).convert("YCbCr")
    encoded = bytes(
        imagecodecs.jpeg2k_encode(
            np.asarray(picture), codecformat="j2k", mct=False, reversible=True
        )
    )
    with tifffile.TiffWriter(tmp_path / "aperio.svs") as tif:
        tif.write(
            iter([encoded]),
            shape=(64, 64, 3),
            dtype=np.uint8,
            tile=(64, 64),
            photometric="rgb",
            compression="APERIO_JP2000_YCBC",
            description="Aperio Image Library|MPP = 0.25",
        )
    seen = whole(open_slide(tmp_path / "aperio.svs")).astype(int)
    assert np.abs(seen - np.asarray(picture.convert("RGB"))).max() <= 1


@pytest.mark.parametrize(
    ("image", "options", "reason"),
    [
        (noise(20, 30, 4), {"photometric": "separated"}, "CMYK"),
        (noise(20, 30, 3), {"photometric": "cielab"}, "CIELAB"),
        (noise(20, 30, 4), {"photometric": "minisblack", "planarconfig": "contig"}, "4 grey"),
        (noise(4, 20, 30), {"photometric": "minisblack"}, "stack"),
        (noise(20, 30).astype(np.float32), {"photometric": "rgb"}, "type float32"),
        (noise(20, 30).astype(np.int16), {"photometric": "rgb"}, "type int16"),
        (noise(20, 30).astype(np.uint32), {"photometric": "rgb"}, "type uint32"),
    ],
)
def test_pixels_that_are_refused_by_name(
    tmp_path: Path, image: NDArray[Any], options: dict[str, Any], reason: str
) -> None:
    path = written(tmp_path / "other.tif", image, **options)
    with pytest.raises(UserError, match=reason) as caught:
        open_slide(path)
    assert "save" in str(caught.value)


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_fluorescence_is_refused(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    path = tmp_path / "dapi.ome.tif"
    written(path, noise(3, 40, 50), photometric="minisblack", metadata={"axes": "CYX"}, tile=tile)
    with pytest.raises(UserError, match=r"separate channels, as fluorescence has: save it as RGB"):
        open_slide(path)


def test_imagej_stack_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "stack.tif", noise(5, 40, 50), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(UserError, match="is a stack"):
        open_slide(path)


# Pyramids


def write_pyramid(
    tif: tifffile.TiffWriter, levels: list[NDArray[np.uint8]], **options: Any
) -> None:
    tif.write(levels[0], subifds=len(levels) - 1, photometric="rgb", tile=(64, 64), **options)
    for level in levels[1:]:
        tif.write(level, subfiletype=1, photometric="rgb", tile=(64, 64))


def test_ome_of_many_images(tmp_path: Path) -> None:
    """The largest image in colour is read, with its own levels and its own µm/px."""
    image = noise(1700, 1300)
    levels = [image, image[::4, ::4], image[::8, ::8]]
    path = tmp_path / "scan.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(noise(2000, 2000), photometric="rgb", metadata={"Name": "macro image"})
        tif.write(noise(90, 80), photometric="rgb", metadata={"Name": "region", "PhysicalSizeX": 4})
        size = {"PhysicalSizeX": 230.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.23}
        write_pyramid(tif, levels, metadata={"Name": "tissue", **size})
        tif.write(noise(1800, 1800, 1)[..., 0], metadata={"Name": "mask"})
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(0.23)
    assert slide.downsamples == (1, 4, 8)
    for index, level in enumerate(levels):
        np.testing.assert_array_equal(whole(slide, index), level)


SVS = "Aperio Image Library v11.2.1 \n46000x32914 (240x240) JPEG/RGB Q=30|AppMag = 20|{}Left = 25"


def write_svs(path: Path, image: NDArray[np.uint8], mpp: str = "MPP = 0.4990|") -> None:
    """Write what Aperio writes: baseline, thumbnail, levels, label and macro."""
    tiled: dict[str, Any] = {"tile": (240, 240), "compression": "jpeg", "subsampling": (1, 1)}
    plain: dict[str, Any] = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(image, description=SVS.format(mpp), **tiled, **plain)
        tif.write(image[::5, ::5], **plain)
        tif.write(image[::4, ::4], description=SVS.format(""), **tiled, **plain)
        tif.write(noise(1500, 1600), subfiletype=1, description="Aperio\nlabel", **plain)
        tif.write(noise(1500, 1600), subfiletype=9, description="Aperio\nmacro", **plain)


def test_svs(tmp_path: Path) -> None:
    image = smooth(1203, 1100)
    write_svs(tmp_path / "scan.svs", image)
    slide = open_slide(tmp_path / "scan.svs")
    assert slide.name == "scan"
    assert slide.shape == (1203, 1100)
    assert slide.downsamples == (1, 4)
    assert slide.mpp == 0.499
    assert_close(whole(slide), image)
    assert_close(whole(slide, 1), image[::4, ::4])
    assert open_slide(tmp_path / "scan.svs", mpp=0.25).mpp == 0.25
    write_svs(tmp_path / "scan.svs", image, mpp="")
    assert open_slide(tmp_path / "scan.svs").mpp is None


def write_ndpi(path: Path, pictures: list[tuple[NDArray[np.uint8], float, float]]) -> None:
    """Write pictures with their magnification and µm/px as Hamamatsu does.

    Each is one JPEG whose restart markers, listed in a tag, part it; offsets have 64 bits, the
    upper halves of which stand after the tags.
    """
    file = bytearray(b"II*\0" + bytes(8))
    link = 4
    for image, magnification, mpp in pictures:
        data = jpeg(image, restart_marker_blocks=10)
        scan = data.index(b"\xff\xda")
        starts = [scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")]
        for at in range(starts[0], len(data) - 1):
            if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7:
                starts.append(at + 2)
        offsets = {}
        for name, content in {
            "strip": data,
            "mcu_starts": struct.pack(f"<{len(starts)}I", *starts),
            "resolution": struct.pack("<II", round(1e8 / mpp), 10_000),
            "make": b"Hamamatsu\0",
            "bits": struct.pack("<3H", 8, 8, 8),
        }.items():
            offsets[name] = len(file)
            file += content + bytes(len(content) % 2)
        height, width, _ = image.shape
        (lens,) = struct.unpack("<I", struct.pack("<f", magnification))
        tags = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 3, offsets["bits"]),
            (259, 3, 1, 7),  # JPEG
            (262, 3, 1, 6),  # YCbCr
            (271, 2, 10, offsets["make"]),
            (273, 4, 1, offsets["strip"]),
            (277, 3, 1, 3),
            (278, 4, 1, height),
            (279, 4, 1, len(data)),
            (282, 5, 1, offsets["resolution"]),
            (283, 5, 1, offsets["resolution"]),
            (296, 3, 1, 3),  # centimetre
            (65420, 4, 1, 1),
            (65421, 11, 1, lens),
            (65426, 4, len(starts), offsets["mcu_starts"]),
        ]
        struct.pack_into("<Q", file, link, len(file))
        file += struct.pack("<H", len(tags))
        for tag in tags:
            file += struct.pack("<HHII", *tag)
        link = len(file)
        file += bytes(8 + 4 * len(tags))
    path.write_bytes(file)


def test_ndpi(tmp_path: Path) -> None:
    image = smooth(1120, 1280)
    path = tmp_path / "scan.ndpi"
    macro = noise(1500, 1600)
    write_ndpi(path, [(image, 20, 0.2305), (image[::4, ::4], 5, 0.922), (macro, -1, 20)])
    slide = open_slide(path)
    assert slide.shape == (1120, 1280)
    assert slide.downsamples == (1, 4)
    assert slide.mpp == pytest.approx(0.2305, rel=1e-4)
    assert_close(whole(slide), image)
    assert_close(whole(slide, 1), image[::4, ::4])
    decoded = np.asarray(Image.open(io.BytesIO(jpeg(image)))).astype(int)
    # Chroma is interpolated within a part, so only its inside is the same.
    assert np.abs(slide.read(170, 18, 140, 12) - decoded[18:30, 170:310]).max() <= 2


@pytest.mark.parametrize("options", STORAGES[:4], ids=str)
def test_coarser_levels_are_computed(tmp_path: Path, options: dict[str, Any]) -> None:
    image = noise(1030, 2500)
    slide = open_slide(written(tmp_path / "flat.tif", image, photometric="rgb", **options))
    assert slide.downsamples == (1, 2, 4)
    means = image[:1028].reshape(257, 4, 625, 4, 3).mean(axis=(1, 3))
    assert whole(slide, 2).shape == (258, 625, 3)
    assert np.abs(whole(slide, 2)[:257] - means).max() <= 1


def test_no_zarr_store_of_tifffile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are Zarr 2 or 3 by the version of tifffile, and fit certain versions of Zarr only."""
    image = noise(100, 80)
    path = written(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64), compression="zlib")
    monkeypatch.delattr(tifffile.TiffPage, "aszarr")
    np.testing.assert_array_equal(whole(open_slide(path)), image)


def test_single_pixels_rows_and_columns(tmp_path: Path) -> None:
    """Viewers index the levels with whole numbers, too."""
    image = noise(1500, 1300)
    path = written(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 96), compression="zlib")
    level = open_slide(path).levels[0]
    for index in ((7, 70), (slice(60, 70), 5), (3, slice(None), 1), (slice(0, 1500, 100), 2)):
        np.testing.assert_array_equal(level[index], image[index])


def test_tiles_that_were_never_scanned_are_white(tmp_path: Path) -> None:
    image = noise(64, 64)
    path = tmp_path / "sparse.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter([image, None, None, image]),
            shape=(128, 128, 3),
            dtype=np.uint8,
            tile=(64, 64),
            photometric="rgb",
        )
    slide = open_slide(path)
    np.testing.assert_array_equal(slide.read(0, 0, 64, 64), image)
    assert (slide.read(64, 0, 64, 64) == 255).all()


@pytest.mark.parametrize("compression", ["zlib", "APERIO_JP2000_YCBC"])
def test_missing_tiles_in_luma_and_chroma_are_white(tmp_path: Path, compression: str) -> None:
    """Full intensity of all three samples is magenta there."""
    tile = np.asarray(Image.fromarray(smooth(64, 64)).convert("YCbCr"))
    data = zlib.compress(tile.tobytes())
    if compression == "APERIO_JP2000_YCBC":
        data = bytes(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", mct=False, reversible=True))
    with tifffile.TiffWriter(tmp_path / "sparse.tif") as tif:
        tif.write(
            iter([data, b"", b"", data]),
            shape=(128, 128, 3),
            dtype=np.uint8,
            tile=(64, 64),
            photometric="rgb" if compression.startswith("APERIO") else "ycbcr",
            compression=compression,
            subsampling=None if compression.startswith("APERIO") else (1, 1),
        )
    slide = open_slide(tmp_path / "sparse.tif")
    assert (slide.read(64, 0, 64, 64) == 255).all()
    assert (slide.read(0, 64, 64, 64) == 255).all()
    assert np.abs(slide.read(64, 64, 64, 64).astype(int) - smooth(64, 64)).max() < 5


def test_missing_tiles_of_a_palette_are_white(tmp_path: Path) -> None:
    palette = np.zeros((3, 256), np.uint16)
    palette[:, 7], palette[0, 255] = 65535, 65535  # 7 is white, 255 red
    with tifffile.TiffWriter(tmp_path / "sparse.tif") as tif:
        tif.write(
            iter([np.full((64, 64), 255, np.uint8), None]),
            shape=(64, 128),
            dtype=np.uint8,
            tile=(64, 64),
            photometric="palette",
            colormap=palette,
        )
    slide = open_slide(tmp_path / "sparse.tif")
    assert slide.read(0, 0, 1, 1).tolist() == [[[255, 0, 0]]]
    assert (slide.read(64, 0, 64, 64) == 255).all()


# µm/px


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({}, None),
        ({"resolution": (72, 72), "resolutionunit": "inch"}, None),
        ({"resolution": (96, 96), "resolutionunit": "inch"}, None),
        ({"resolution": (300, 300), "resolutionunit": "inch"}, None),
        ({"resolution": (50800, 50800), "resolutionunit": "inch"}, 0.5),
        ({"resolution": (40000, 40000), "resolutionunit": "centimeter"}, 0.25),
        ({"resolution": (40000, 20000), "resolutionunit": "centimeter"}, None),
        ({"resolution": (4, 4), "resolutionunit": "none"}, None),
        ({"resolution": (4, 4), "imagej": True, "metadata": {"unit": "um"}}, 0.25),
        ({"resolution": (4, 4), "imagej": True, "metadata": {"unit": "\\u00B5m"}}, 0.25),
        ({"resolution": (4, 4), "imagej": True, "metadata": {"unit": "pixel"}}, None),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}}, 0.25),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}}, None),
        ({"ome": True, "metadata": {}}, None),
    ],
    ids=str,
)
def test_resolution(tmp_path: Path, options: dict[str, Any], mpp: float | None) -> None:
    path = written(tmp_path / "tissue.tif", noise(30, 40), photometric="rgb", **options)
    assert open_slide(path).mpp == (mpp if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm", 1000), ("µm", 1), ("mm", 1e-3), ("pixel", None)]
)
def test_units_of_ome(tmp_path: Path, unit: str, factor: float | None) -> None:
    size = 0.25 * (factor or 1)
    metadata = {
        f"PhysicalSize{axis}{what}": value
        for axis in "XY"
        for what, value in [("", size), ("Unit", unit)]
    }
    path = tmp_path / "tissue.ome.tif"
    written(path, noise(30, 40), photometric="rgb", metadata=metadata)
    assert open_slide(path).mpp == (pytest.approx(0.25) if factor else None)


# Damage, memory and threads


@pytest.mark.parametrize("options", STORAGES[:4], ids=str)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated(tmp_path: Path, options: dict[str, Any], kept: float) -> None:
    path = written(tmp_path / "cut.tif", noise(1300, 400), photometric="rgb", **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError, match=r"cut\.tif is (damaged|truncated)") as caught:
        open_slide(path)
    assert "\n" not in str(caught.value)


def test_only_the_start_of_a_tiff(tmp_path: Path) -> None:
    for data in (b"II*\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40)):
        (tmp_path / "start.tif").write_bytes(data)
        with pytest.raises(UserError, match=r"start\.tif is damaged"):
            open_slide(tmp_path / "start.tif")


def test_small_reads_decode_little(tmp_path: Path) -> None:
    """A tile that is damaged hurts where it is, and nowhere else; 64 tiles are not held for one."""
    path = tmp_path / "large.tif"
    image = noise(4096, 4096)
    written(path, image, photometric="rgb", tile=(512, 512), compression="zstd")
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[-1]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damage" * 1000)
    tracemalloc.start()
    slide = open_slide(path)
    np.testing.assert_array_equal(slide.read(600, 600, 50, 50), image[600:650, 600:650])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < image.nbytes / 5
    with pytest.raises(UserError, match="large cannot be read"):
        slide.read(4000, 4000, 50, 50)


def test_an_uncompressed_file_is_not_loaded(tmp_path: Path) -> None:
    """It is one strip, as tifffile writes it, and yet a small read reads little."""
    image = noise(4096, 4096)
    path = written(tmp_path / "large.tif", image, photometric="rgb")
    tracemalloc.start()
    slide = open_slide(path)
    np.testing.assert_array_equal(slide.read(600, 600, 50, 50), image[600:650, 600:650])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < image.nbytes / 5


def test_reading_from_threads(tmp_path: Path) -> None:
    image = noise(1500, 1300)
    path = tmp_path / "tissue.tif"
    written(path, image, photometric="rgb", tile=(64, 64), compression="zlib")
    slide = open_slide(path)
    corners = np.random.default_rng(0).integers(0, 1200, (40, 2)).tolist()
    with ThreadPoolExecutor(8) as pool:
        seen = pool.map(lambda corner: slide.read(corner[0], corner[1], 90, 80), corners)
    for (x, y), pixels in zip(corners, seen, strict=True):
        np.testing.assert_array_equal(pixels, image[y : y + 80, x : x + 90])
