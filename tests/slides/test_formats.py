"""Formats of scanners, written here, so that pixels and µm/px are known."""

import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from openslide import OpenSlide
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import CTImageStorage

from napari_nucleus.errors import UserError
from napari_nucleus.slides import Slide, is_slide_folder, open_slide, slides_in
from napari_nucleus.slides.stored import Scenes
from tests.made_slides import (
    Pixels,
    halved,
    jpeg,
    scanner_profile,
    smooth,
    write_dicom,
    write_mrxs,
    write_ome_zarr,
    write_philips,
    write_scn,
    write_trestle,
)

IMAGE = smooth(1024, 1536)
LEVELS = [IMAGE, halved(IMAGE)]


def whole(slide: Slide, level: int = 0) -> Pixels:
    height, width, _ = slide.levels[level].shape
    return slide.read(0, 0, width, height, level)


def assert_close(seen: Pixels, expected: Pixels) -> None:
    """Compare what went through JPEG."""
    difference = np.abs(seen.astype(int) - expected)
    assert seen.shape == expected.shape
    assert difference.max() < 20
    assert difference.mean() < 2


def made(kind: str, folder: Path) -> Path:
    """Write `LEVELS` at 0.25 µm/px."""
    if kind == "mrxs":
        return write_mrxs(folder / "slide.mrxs", LEVELS, 0.25)
    if kind == "dicom":
        return write_dicom(folder, LEVELS, 0.25)[1]
    if kind == "philips":
        return write_philips(folder / "slide.tiff", LEVELS, 0.25)
    if kind == "trestle":
        return write_trestle(folder / "slide.tif", IMAGE, 0.25)
    return write_ome_zarr(folder / "slide.ome.zarr", LEVELS, kind)


KINDS = "mrxs", "dicom", "philips", "trestle", "0.4", "0.5"


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_place_and_size(kind: str, tmp_path: Path) -> None:
    slide = open_slide(made(kind, tmp_path))
    assert slide.shape == IMAGE.shape[:2]
    assert slide.mpp == pytest.approx(0.25)
    assert slide.downsamples == (1, 2)
    assert_close(whole(slide), IMAGE)
    assert_close(whole(slide, 1), LEVELS[1])
    assert_close(slide.read(500, 300, 90, 80), IMAGE[300:380, 500:590])
    level = slide.levels[0]
    np.testing.assert_array_equal(level[7, 70], whole(slide)[7, 70])
    np.testing.assert_array_equal(level[:1000:100, 5:7], whole(slide)[:1000:100, 5:7])
    assert len(slide.scenes.names) == 1


@pytest.mark.parametrize("kind", ["mrxs", "dicom", "philips", "trestle"])
def test_pixels_are_those_of_openslide(kind: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path)
    with OpenSlide(path) as witness:
        for level, size in enumerate(witness.level_dimensions):
            expected = np.asarray(witness.read_region((0, 0), level, size).convert("RGB"))
            np.testing.assert_array_equal(whole(open_slide(path), level), expected)


def test_svs_as_openslide_reads_it(datasets: Path) -> None:
    path = datasets / "wsi" / "CMU-1-Small-Region.svs"
    with OpenSlide(path) as witness:
        expected = witness.read_region((300, 400), 0, (700, 600)).convert("RGB")
        assert open_slide(path).mpp == float(witness.properties["openslide.mpp-x"])
    seen = open_slide(path).read(300, 400, 700, 600).astype(int)
    assert np.abs(seen - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_at_the_same_time(kind: str, tmp_path: Path) -> None:
    slide = open_slide(made(kind, tmp_path))
    expected = whole(slide)
    corners = np.random.default_rng(0).integers(0, 900, (30, 2)).tolist()
    with ThreadPoolExecutor(8) as pool:
        seen = pool.map(lambda corner: slide.read(corner[0], corner[1], 90, 80), corners)
    for (x, y), pixels in zip(corners, seen, strict=True):
        np.testing.assert_array_equal(pixels, expected[y : y + 80, x : x + 90])


@pytest.mark.parametrize("kind", KINDS)
def test_a_slide_is_known_again_where_it_was_moved_to(kind: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    slide = open_slide(made(kind, tmp_path / "one"))
    source = slide.source()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert slide.path is not None
    assert open_slide(tmp_path / "two" / slide.path.name).matches(source)
    (tmp_path / "three").mkdir()
    levels = [255 - level for level in LEVELS]
    if kind == "mrxs":
        other = write_mrxs(tmp_path / "three" / "slide.mrxs", levels, 0.25)
    elif kind == "dicom":
        other = write_dicom(tmp_path / "three", levels, 0.25)[1]
    elif kind in ("0.4", "0.5"):
        other = write_ome_zarr(tmp_path / "three" / "slide.ome.zarr", levels, kind)
    else:
        return
    assert not open_slide(other).matches(source)


# MRXS


def test_what_was_not_scanned_is_white(tmp_path: Path) -> None:
    slide = open_slide(write_mrxs(tmp_path / "slide.mrxs", LEVELS[:1], 0.25, holes=[7]))
    seen = whole(slide)
    assert (seen[256:512, 256:512] == 255).all()
    assert_close(seen[:256], IMAGE[:256])
    assert_close(seen[256:512, 512:], IMAGE[256:512, 512:])


def test_a_damaged_tile_hurts_where_it_is(tmp_path: Path) -> None:
    """OpenSlide itself reads nothing more after one failure."""
    image = IMAGE.copy()
    image[:256, :256] = smooth(256, 256, 1)
    path = write_mrxs(tmp_path / "slide.mrxs", [image], 0.25)
    data = path.with_suffix("") / "Data0000.dat"
    encoded = jpeg(image[:256, :256])
    stored = data.read_bytes()
    assert stored.count(encoded) == 1
    data.write_bytes(stored.replace(encoded, b"damage" + encoded[6:]))
    slide = open_slide(path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"slide cannot be read \(.+JPEG"):
            slide.read(10, 10, 50, 50)
        assert_close(slide.read(600, 600, 50, 50), IMAGE[600:650, 600:650])


def test_mrxs_without_its_folder(tmp_path: Path) -> None:
    path = write_mrxs(tmp_path / "slide.mrxs", LEVELS, 0.25)
    shutil.move(path.with_suffix(""), tmp_path / "elsewhere")
    with pytest.raises(UserError, match="put the folder slide, which has the rest, beside it"):
        open_slide(path)


# DICOM


@pytest.mark.parametrize("compressed", [False, True])
def test_dicom_is_what_pydicom_decodes(compressed: bool, tmp_path: Path) -> None:
    file = write_dicom(tmp_path, LEVELS[:1], 0.25, compressed=compressed)[0]
    tiles = pydicom.dcmread(file).pixel_array
    seen = whole(open_slide(file))
    for number, tile in enumerate(tiles):
        y, x = divmod(number, 12)
        part = seen[128 * y : 128 * (y + 1), 128 * x : 128 * (x + 1)].astype(int)
        assert np.abs(part - tile).max() <= (2 if compressed else 0)


@pytest.mark.parametrize("compressed", [False, True])
def test_dicom_that_openslide_refuses(compressed: bool, tmp_path: Path) -> None:
    """As programs write it that keep only what they understand."""
    for file in write_dicom(tmp_path, LEVELS, 0.25, compressed=compressed):
        dataset = pydicom.dcmread(file)
        del dataset.ImageType
        del dataset.SharedFunctionalGroupsSequence
        dataset.ImagedVolumeWidth, dataset.ImagedVolumeHeight = 1536 * 0.00025, 1024 * 0.00025
        dataset.save_as(file)
    slide = open_slide(file)
    assert slide.mpp == pytest.approx(0.25)
    assert slide.downsamples == (1, 2)
    assert_close(whole(slide), IMAGE)
    assert_close(slide.read(100, 100, 300, 50, level=1), LEVELS[1][100:150, 100:400])
    assert slide.matches(open_slide(tmp_path).source())


def test_a_folder_of_dicom_series(tmp_path: Path) -> None:
    """A folder is named as it is; files of DICOM are named by numbers."""
    folder = tmp_path / "case.12"
    folder.mkdir()
    files = write_dicom(folder, LEVELS, 0.25, "biopsy")
    assert is_slide_folder(folder)
    (folder / "notes.txt").write_text("no image")
    assert not is_slide_folder(folder)
    assert slides_in(folder) == [folder / "biopsy-0.dcm", folder / "notes.txt"]
    slide = open_slide(folder)
    assert slide.name == "case.12"
    assert slide.scenes.names == ("biopsy",)
    assert slide.matches(open_slide(files[0]).source())
    other = smooth(300, 200, 1)
    write_dicom(folder, [other], 0.5, "a margin")
    slide = open_slide(folder)
    assert slide.shape == IMAGE.shape[:2]
    assert slide.scenes == Scenes(("a margin", "biopsy"), 1, 1)
    margin = open_slide(folder, scene="a margin")
    assert (margin.name, margin.mpp) == ("case.12 a margin", pytest.approx(0.5))
    assert_close(whole(margin), other)
    named = files[0].rename(folder / "1.2.826.0.1")
    assert open_slide(named).name == "1.2.826.0.1"


def test_dicom_of_other_kinds_is_one_line(tmp_path: Path) -> None:
    file = write_dicom(tmp_path, [smooth(200, 200)], 0.25)[0]
    dataset = pydicom.dcmread(file)
    dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.save_as(file)
    with pytest.raises(UserError, match=r"slide-0\.dcm is .+ \(.*pydicom: not a slide\)") as caught:
        open_slide(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a folder: choose an image in it"):
        open_slide(tmp_path)


@pytest.mark.filterwarnings("ignore:The value length")  # of a UID, in small_dicom
def test_real_dicom(datasets: Path) -> None:
    wsi = datasets / "wsi"
    slide = open_slide(wsi / "highdicom" / "sm_image.dcm")
    assert (slide.shape, slide.mpp) == ((50, 50), pytest.approx(0.499))
    assert slide.profile is not None
    tiles = pydicom.dcmread(wsi / "highdicom" / "sm_image.dcm").pixel_array
    np.testing.assert_array_equal(slide.read(10, 20, 10, 10), tiles[11])
    slide = open_slide(wsi / "small_dicom.dcm")
    assert (slide.shape, slide.mpp) == ((2638, 3236), None)
    assert slide.size == pytest.approx((4.635, 5.686), abs=0.001)  # by the area, of 15 x 15 mm
    frames = generate_frames(pydicom.dcmread(wsi / "small_dicom.dcm").PixelData)
    tile = Image.open(io.BytesIO(list(frames)[15]))
    np.testing.assert_array_equal(slide.read(500, 1000, 500, 500), np.asarray(tile))


# OME-Zarr


@pytest.mark.parametrize("axes", ["tczyx", "cyx", "yxc", "zyxc"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_of_ome_zarr(axes: str, version: str, tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "slide.zarr", LEVELS, version, axes)
    slide = open_slide(path)
    assert slide.name == "slide"
    np.testing.assert_array_equal(whole(slide), IMAGE)
    np.testing.assert_array_equal(whole(slide, 1), LEVELS[1])
    np.testing.assert_array_equal(slide.read(130, 60, 20, 30), IMAGE[60:90, 130:150])
    marker = path / (".zattrs" if version == "0.4" else "zarr.json")
    assert open_slide(marker).matches(slide.source())  # file dialogs choose no folders
    assert is_slide_folder(path)


def test_grey_and_deep_ome_zarr(tmp_path: Path) -> None:
    grey = IMAGE[..., 0]
    seen = whole(open_slide(write_ome_zarr(tmp_path / "grey.zarr", [grey])))
    assert all((seen[..., channel] == grey).all() for channel in range(3))
    deep = IMAGE.astype(np.uint16) * 257
    np.testing.assert_array_equal(
        whole(open_slide(write_ome_zarr(tmp_path / "deep.zarr", [deep], axes="cyx"))), IMAGE
    )


@pytest.mark.parametrize(
    ("scale", "unit", "mpp"),
    [
        (0.25, "micrometer", 0.25),
        (250, "nanometer", 0.25),
        (0.25, None, None),
        (1, "micrometer", 1),
        (96, "micrometer", None),
    ],
)
def test_size_of_ome_zarr(
    scale: float, unit: str | None, mpp: float | None, tmp_path: Path
) -> None:
    path = write_ome_zarr(tmp_path / "slide.zarr", [IMAGE[:90, :80]], scale=scale, unit=unit)
    assert open_slide(path).mpp == (mpp if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(
    ("pixels", "axes", "channels", "reason"),
    [
        (noise := np.zeros((20, 30, 2), np.uint8), "cyx", (), "2 separate channels"),
        (IMAGE[:20, :30], "cyx", ("0000FF", "00FF00", "FF0000"), "3 separate channels"),
        (noise[..., 0].astype(np.int32), "yx", (), "type int32"),
    ],
)
def test_ome_zarr_that_is_refused_by_name(
    pixels: NDArray[Any], axes: str, channels: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    path = write_ome_zarr(tmp_path / "cells.zarr", [pixels], axes=axes, channels=channels)
    with pytest.raises(UserError, match=reason):
        open_slide(path)


def test_a_zarr_group_without_image_is_one_line(tmp_path: Path) -> None:
    import zarr

    zarr.open_group(tmp_path / "table.zarr", mode="w").create_group("column")
    with pytest.raises(UserError, match=r"table\.zarr is .+\(zarr: no OME-Zarr image in it\)"):
        open_slide(tmp_path / "table.zarr")


# Several images in a file


def bioformats2raw(path: Path, version: str) -> Path:
    import zarr

    root = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    layout: dict[str, Any] = {"bioformats2raw.layout": 3}
    root.attrs.update(layout if version == "0.4" else {"ome": {"version": version, **layout}})
    write_ome_zarr(path / "0", [smooth(100, 90, 1)], version, name="label")
    write_ome_zarr(path / "1", LEVELS, version, name="")
    write_ome_zarr(path / "2", [smooth(80, 70, 2)], version, name="label")
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_scenes_of_bioformats2raw(version: str, tmp_path: Path) -> None:
    path = bioformats2raw(tmp_path / "slide.zarr", version)
    slide = open_slide(path)
    assert slide.shape == IMAGE.shape[:2]
    assert slide.scenes == Scenes(("label", "scene 1", "label (2)"), 1, 1)
    for scene in (2, "2", "label (2)"):
        other = open_slide(path, scene=scene)
        assert (other.name, other.scenes.other) == ("slide label (2)", "label (2)")
        np.testing.assert_array_equal(whole(other), smooth(80, 70, 2))
    assert open_slide(path, scene=1).matches(slide.source())
    assert not other.matches(slide.source())
    assert not slide.matches(other.source())
    again = other.source()
    assert open_slide(again["path"], scene=again["scene"]).matches(again)


def test_scenes_of_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "scan.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tif.write(smooth(90, 80), photometric="rgb", metadata={"Name": "margin", **size})
        tif.write(IMAGE, photometric="rgb", metadata={"Name": "biopsy", "PhysicalSizeX": 0.25})
        tif.write(smooth(300, 200), photometric="rgb", metadata={"Name": "macro image"})
    slide = open_slide(path)
    assert (slide.shape, slide.scenes.names) == (IMAGE.shape[:2], ("margin", "biopsy"))
    margin = open_slide(path, scene="margin")
    assert (margin.name, margin.mpp) == ("scan margin", 0.5)
    np.testing.assert_array_equal(whole(margin), smooth(90, 80))


def test_regions_of_a_slide(tmp_path: Path) -> None:
    """They are one image with glass between, and may be opened one by one."""
    regions = [smooth(512, 600, 1), smooth(300, 400, 2)]
    path = write_scn(tmp_path / "slide.scn", regions, 0.5)
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(0.5)
    assert slide.scenes == Scenes(("whole slide", "region 1", "region 2"))
    seen = whole(slide)
    assert_close(seen[:512, :600], regions[0])
    assert_close(seen[:300, 1200:1600], regions[1])
    assert (seen[:512, 600:1200] == 255).all()
    one = open_slide(path, scene="region 2")
    assert one.shape == (300, 400)
    assert_close(whole(one), regions[1])
    assert_close(one.read(100, 50, 60, 40), regions[1][50:90, 100:160])


@pytest.mark.parametrize("scene", ["3", 3, -1, "liver"])
def test_an_unknown_scene_tells_those_that_there_are(scene: int | str, tmp_path: Path) -> None:
    path = write_scn(tmp_path / "slide.scn", [smooth(512, 600), smooth(300, 400)], 0.5)
    with pytest.raises(UserError, match="choose one of 0 whole slide, 1 region 1, 2 region 2"):
        open_slide(path, scene=scene)


@pytest.mark.parametrize("kind", ["mrxs", "trestle", "0.5"])
def test_a_file_of_one_image(kind: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path)
    assert open_slide(path, scene=0).matches(open_slide(path).source())
    with pytest.raises(UserError, match="has no scene 1: it has one image"):
        open_slide(path, scene=1)


# Colours


def tiff_with(profile: bytes, folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", IMAGE, photometric="rgb", iccprofile=profile)
    return folder / "a.tif"


def png_with(profile: bytes, folder: Path) -> Path:
    Image.fromarray(IMAGE).save(folder / "a.png", icc_profile=profile)
    return folder / "a.png"


def dicom_with(profile: bytes, folder: Path) -> Path:
    return write_dicom(folder, LEVELS, 0.25, compressed=False, profile=profile)[0]


@pytest.mark.parametrize("write", [tiff_with, png_with, dicom_with])
def test_srgb_on_request(write: Callable[[bytes, Path], Path], tmp_path: Path) -> None:
    """The profile says that red is blue."""
    path = write(scanner_profile(), tmp_path)
    slide = open_slide(path)
    assert slide.profile is not None
    assert not slide.srgb
    np.testing.assert_array_equal(whole(slide), IMAGE)
    converted = open_slide(path, srgb=True)
    assert converted.srgb
    for level in range(2):
        expected = whole(slide, level)[..., ::-1].astype(int)
        assert np.abs(whole(converted, level) - expected).max() <= 2
    assert converted.white == (255, 255, 255)
    assert converted.source()["srgb"] is True
    assert converted.matches(converted.source())
    assert not converted.matches(slide.source())


def test_without_a_profile_nothing_is_converted(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    slide = open_slide(tmp_path / "a.png", srgb=True)
    assert not slide.srgb
    np.testing.assert_array_equal(whole(slide), IMAGE)


def test_a_damaged_profile_is_one_line(tmp_path: Path) -> None:
    path = tiff_with(b"no profile at all", tmp_path)
    assert open_slide(path).shape == IMAGE.shape[:2]
    with pytest.raises(UserError, match=r"a\.tif has an ICC profile that cannot be used"):
        open_slide(path, srgb=True)


# What cannot be read


def test_all_backends_that_were_tried_are_named(tmp_path: Path) -> None:
    """Of a file that two of them know."""
    path = write_trestle(tmp_path / "slide.tif", IMAGE, 0.5)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xff\xd8\xff", bytes(3)))  # no tile is JPEG
    with pytest.raises(UserError, match=r"\(OpenSlide: .+; tifffile: .+\)") as caught:
        open_slide(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_slide_of_openslide_is_one_line(tmp_path: Path) -> None:
    path = write_mrxs(tmp_path / "slide.mrxs", LEVELS, 0.25)
    (path.with_suffix("") / "Index.dat").write_bytes(b"damage")
    with pytest.raises(UserError, match=r"slide\.mrxs is damaged, .+\(OpenSlide: .+\)") as caught:
        open_slide(path)
    assert "\n" not in str(caught.value)
