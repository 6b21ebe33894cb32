import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
import tifffile
from PIL import Image
from skimage.draw import ellipse
from skimage.morphology import erosion

from napari_nucleus.datasets import read_types
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure, measurement_columns
from napari_nucleus.nucleus_types import type_colors
from napari_nucleus.results import Result, ResultWriter, export, open_result
from napari_nucleus.slides import slide_from_arrays

TYPES = {"inflammatory": "#3cb44b", "spindle": "#ffb000"}
RGB = {"inflammatory": [60, 180, 75], "spindle": [255, 176, 0]}
SHAPE = (300, 420)
WRITERS = [
    export.write_csv,
    export.write_parquet,
    export.write_geojson,
    export.write_labels,
    export.write_overlay,
]


def draw_labels() -> np.ndarray:
    """Ellipses in rows, a pair that touches, one with a hole, one in two parts."""
    labels = np.zeros(SHAPE, np.int32)
    for label, (y, x) in enumerate(np.ndindex(6, 8), 1):
        labels[ellipse(y * 48 + 25, x * 52 + 25, 10 + y, 20 - x, rotation=x / 3)] = 10 * label
    labels[60:90, 70:80] = 901
    labels[60:90, 80:95] = 902
    labels[20:26, 20:26] = 0
    labels[290:295, 400:405] = labels[295:300, 410:415] = 903
    return labels


@pytest.fixture
def labels() -> np.ndarray:
    return draw_labels()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(150, 256, (*SHAPE, 3), dtype=np.uint8)


@pytest.fixture
def result(tmp_path: Path, labels: np.ndarray, image: np.ndarray) -> Result:
    Image.fromarray(image).save(tmp_path / "tissue.png")
    return make_result(tmp_path, labels, image)


def make_result(
    folder: Path,
    labels: np.ndarray,
    image: np.ndarray,
    types: dict[str, str] = TYPES,
    mpp: float | None = 0.25,
    certainty: float = 0.87654,
) -> Result:
    file = folder / "tissue.png"
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
    run = {
        "source": {"path": str(file), "sha256": digest},
        "model": {"name": "tiny", "sha256": "cd", "mpp": 0.5, "types": list(types)},
        "options": {},
        "device": "cpu",
    }
    table = measure(labels, image, mpp)
    kinds = np.array(list(types))[table["label"] % len(types)]
    with ResultWriter(folder / "tissue.nucleus", labels.shape, mpp, types, run) as writer:
        writer.write_labels(0, 0, labels)
        writer.append(table.assign(type=kinds, type_prob=np.float32(certainty)))
        return writer.finish(seconds={})


def test_csv_holds_every_nucleus_rounded(result: Result, tmp_path: Path) -> None:
    export.write_csv(result, tmp_path / "out" / "tissue.csv")
    rounded = pd.read_csv(tmp_path / "out" / "tissue.csv")
    exact = result.table()
    assert list(rounded) == list(exact)
    assert {"centroid_x", "area_um2", "major_axis_um", "hematoxylin_mean"} <= set(rounded)
    for whole in ["label", "type", "x0", "y0", "x1", "y1", "edited"]:
        assert rounded[whole].tolist() == exact[whole].tolist()
    for position in ["centroid_x", "centroid_y"]:
        np.testing.assert_allclose(rounded[position], exact[position], atol=0.00501)
    for measurement in list(exact)[9:-2]:
        np.testing.assert_allclose(rounded[measurement], exact[measurement], rtol=0.000501)


def test_csv_has_no_more_digits_than_it_means(tmp_path: Path) -> None:
    # Areas beyond four digits, where rounding must give zeros and not an exponent.
    labels = np.zeros((600, 600), np.int32)
    labels[ellipse(300, 300, 280, 150)] = 1
    result = make_result(tmp_path, labels, np.full((600, 600, 3), 99, np.uint8), mpp=None)
    export.write_csv(result, tmp_path / "tissue.csv")
    with (tmp_path / "tissue.csv").open(encoding="ascii", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["area_px2"]) == pytest.approx(np.pi * 280 * 150, rel=0.01)
    assert re.fullmatch(r"1[0-9]{3}00", row["area_px2"])
    for name in ["centroid_x", "centroid_y"]:
        assert re.fullmatch(r"\d+(\.\d\d?)?", row[name])
    for name in list(row)[9:-2]:
        digits = re.sub(r"e.*|[-.]", "", row[name]).strip("0")
        assert len(digits) <= 4, (name, row[name])
    assert row["type_prob"] == "0.8765"


def test_csv_of_types_beyond_ascii_opens_in_excel(tmp_path: Path, labels: np.ndarray) -> None:
    image = np.zeros((*SHAPE, 3), np.uint8)
    result = make_result(tmp_path, labels, image, {"Entzündung, akut": "#112233"})
    export.write_csv(result, tmp_path / "tissue.csv")
    assert (tmp_path / "tissue.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert set(pd.read_csv(tmp_path / "tissue.csv")["type"]) == {"Entzündung, akut"}


def test_types_that_look_like_formulas(tmp_path: Path, labels: np.ndarray) -> None:
    """A spreadsheet computes a cell that begins with =, +, - or @ (OWASP, "CSV injection")."""
    names = ["=1+1", "+ve", "-ve", "@here", "'=x", "'s", "tumour", "a=b"]
    result = make_result(tmp_path, labels, np.zeros((*SHAPE, 3), np.uint8), type_colors(names))
    export.write_csv(result, tmp_path / "a.csv")
    cells = pd.read_csv(tmp_path / "a.csv", dtype={"type": str})["type"]
    assert not cells.str.match(r"[=+\-@\t\r]").any()
    assert {"'=1+1", "''=x", "'s", "tumour"} <= set(cells)
    expected = result.table().set_index("label")["type"]
    assert read_types(tmp_path / "a.csv").to_dict() == expected.to_dict()
    export.write_geojson(result, tmp_path / "a.geojson")
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert {one["properties"]["classification"]["name"] for one in features} == set(expected)


def test_parquet(result: Result, tmp_path: Path) -> None:
    export.write_parquet(result, tmp_path / "tissue.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "tissue.parquet"), result.table())


@pytest.mark.parametrize("block", [2048, 64])
def test_geojson_outlines_every_nucleus(
    result: Result,
    labels: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    monkeypatch.setattr(export, "_BLOCK", block)
    export.write_geojson(result, tmp_path / "tissue.geojson")
    collection = json.loads((tmp_path / "tissue.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(result.table())

    table = result.table().set_index("label")
    y, x = np.indices(SHAPE) + 0.5
    drawn = np.zeros(SHAPE, np.int32)
    for feature in collection["features"]:
        properties = feature["properties"]
        nucleus = table.loc[int(properties["name"])]
        outline = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert feature["type"] == "Feature"
        assert outline.is_valid
        drawn[shapely.contains_xy(outline, x, y)] = int(properties["name"])
        color = RGB[str(nucleus["type"])]
        assert properties["objectType"] == "detection"
        assert properties["classification"] == {"name": nucleus["type"], "color": color}
        measurements = properties["measurements"]
        assert measurements["area_um2"] == pytest.approx(outline.area / 16, rel=0.001)
        assert list(measurements) == [*list(result.table())[2:3], *list(result.table())[9:-2]]
    np.testing.assert_array_equal(drawn, labels)


def test_geojson_leaves_out_what_is_no_number(
    labels: np.ndarray, image: np.ndarray, tmp_path: Path
) -> None:
    """JSON has no NaN, and QuPath reads no file that does."""
    result = make_result(tmp_path, labels, image, certainty=np.nan)
    export.write_geojson(result, tmp_path / "tissue.geojson")
    text = (tmp_path / "tissue.geojson").read_text()
    assert "NaN" not in text
    measured = json.loads(text)["features"][0]["properties"]["measurements"]
    assert list(measured) == list(measurement_columns(0.25))


def test_csv_with_names_of_regions(tmp_path: Path, labels: np.ndarray) -> None:
    result = make_result(tmp_path, labels, np.zeros((*SHAPE, 3), np.uint8))
    result.run["options"]["regions"] = {"=Östlich": []}
    table = result.table().assign(region="=Östlich")
    table.to_parquet(result.path / "nuclei.parquet")
    export.write_csv(result, tmp_path / "tissue.csv")
    assert (tmp_path / "tissue.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert set(pd.read_csv(tmp_path / "tissue.csv")["region"]) == {"'=Östlich"}


def test_no_nuclei(tmp_path: Path) -> None:
    image = np.full((9, 9, 3), 200, np.uint8)
    Image.fromarray(image).save(tmp_path / "tissue.png")
    result = make_result(tmp_path, np.zeros((9, 9), np.int32), image)
    export.write_csv(result, tmp_path / "tissue.csv")
    assert list(pd.read_csv(tmp_path / "tissue.csv")) == list(result.table())
    export.write_geojson(result, tmp_path / "tissue.geojson")
    assert json.loads((tmp_path / "tissue.geojson").read_text())["features"] == []
    export.write_overlay(result, tmp_path / "overlay.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "overlay.png")), image)


def test_geojson_of_a_nucleus_without_pixels(result: Result, tmp_path: Path) -> None:
    table = result.table()
    table.loc[3, "label"] = 12345
    table.to_parquet(result.path / "nuclei.parquet")
    with pytest.raises(UserError, match="nucleus 12345 has no pixels"):
        export.write_geojson(result, tmp_path / "tissue.geojson")
    assert not (tmp_path / "tissue.geojson").exists()


@pytest.mark.parametrize("classic_bytes", [2**32, 1000])
def test_label_image(
    result: Result,
    labels: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    classic_bytes: int,
) -> None:
    monkeypatch.setattr(export, "_CLASSIC_TIFF_BYTES", classic_bytes)
    export.write_labels(result, tmp_path / "tissue.tif")
    with tifffile.TiffFile(tmp_path / "tissue.tif") as file:
        assert file.is_bigtiff == (classic_bytes == 1000)
        page = file.pages.first
        np.testing.assert_array_equal(page.asarray(), labels)
        assert page.dtype == np.int32
        assert page.is_tiled
        assert page.get_resolution("MICROMETER") == pytest.approx((4, 4))
    assert (tmp_path / "tissue.tif").stat().st_size < labels.nbytes / 10


def test_label_image_reads_in_pillow(result: Result, labels: np.ndarray, tmp_path: Path) -> None:
    export.write_labels(result, tmp_path / "tissue.tif")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "tissue.tif")), labels)


def test_overlay(result: Result, labels: np.ndarray, image: np.ndarray, tmp_path: Path) -> None:
    export.write_overlay(result, tmp_path / "overlay.png")
    overlay = np.asarray(Image.open(tmp_path / "overlay.png"))
    assert overlay.shape == image.shape
    table = result.table().set_index("label")
    edge = np.zeros(SHAPE, bool)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    for label, nucleus in table.iterrows():
        mask = labels == label
        # Eroded twice; beyond the border of the image there is more nucleus to be expected.
        core = erosion(np.pad(mask, 2, mode="edge"), cross)
        rim = mask & ~erosion(core, cross)[2:-2, 2:-2]
        color = RGB[str(nucleus["type"])]
        drawn = mask & (overlay == color).all(2)
        assert drawn[rim].mean() > 0.9
        assert not (drawn & ~rim).any()
        edge |= drawn
    np.testing.assert_array_equal(overlay[~edge], image[~edge])


def test_overlay_of_a_large_image_is_scaled_down(result: Result, tmp_path: Path) -> None:
    export.write_overlay(result, tmp_path / "overlay.png", max_size=150)
    overlay = np.asarray(Image.open(tmp_path / "overlay.png"))
    assert overlay.shape == (107, 150, 3)
    kinds = result.table().set_index("label")["type"]
    # The nucleus in the fourth row and column is drawn where it lies.
    color = RGB[kinds[10 * 28]]
    y, x = np.nonzero((overlay == color).all(2))
    center = (3 * 48 + 25) * 150 / 420, (3 * 52 + 25) * 150 / 420
    assert (np.hypot(y - center[0], x - center[1]) < 8).sum() > 20


def test_overlay_without_its_image(result: Result, tmp_path: Path) -> None:
    (tmp_path / "tissue.png").rename(tmp_path / "moved.png")
    with pytest.raises(UserError, match=r"tissue\.png.*put the image back"):
        export.write_overlay(result, tmp_path / "overlay.png")
    for size in ((50, 50), SHAPE[::-1]):
        Image.new("RGB", size).save(tmp_path / "tissue.png")
        with pytest.raises(UserError, match="is not the image"):
            export.write_overlay(result, tmp_path / "overlay.png")
    result.run["source"]["path"] = None
    with pytest.raises(UserError, match="layer without a file"):
        export.write_overlay(result, tmp_path / "overlay.png")
    assert not (tmp_path / "overlay.png").exists()


@pytest.mark.parametrize("write", WRITERS)
def test_a_place_that_cannot_be_written_to(
    result: Result, tmp_path: Path, write: Callable[[Result, Path], None]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        write(result, tmp_path / "file" / "export")


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("write", WRITERS)
def test_never_over_the_image_or_into_a_result(
    result: Result, tmp_path: Path, write: Callable[[Result, Path], None]
) -> None:
    image = tmp_path / "tissue.png"
    (tmp_path / "hard.png").hardlink_to(image)
    (tmp_path / "soft.png").symlink_to(image)
    (tmp_path / "in.csv").symlink_to(result.path / "nuclei.parquet")
    before = content(tmp_path)
    for name in ("tissue.png", "hard.png", "soft.png", "tissue.nucleus/../tissue.png"):
        with pytest.raises(UserError, match="is the image that was segmented"):
            write(result, tmp_path / name)
    for name in ("tissue.nucleus", "tissue.nucleus/run.json", "tissue.nucleus/new", "in.csv"):
        with pytest.raises(UserError, match="is in the result"):
            write(result, tmp_path / name)
    assert content(tmp_path) == before


def test_never_over_the_image_where_it_was_moved(result: Result, tmp_path: Path) -> None:
    moved = (tmp_path / "tissue.png").rename(tmp_path / "moved.png")
    before = content(tmp_path)
    with pytest.raises(UserError, match="is the image that was segmented"):
        export.write_overlay(result, moved, image=moved)
    assert content(tmp_path) == before


def test_a_link_to_another_disk_is_followed(result: Result, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "table.csv").symlink_to(tmp_path / "disk" / "table.csv")
    export.write_csv(result, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "disk" / "table.csv")) == len(result.table())
    assert [file.name for file in (tmp_path / "disk").iterdir()] == ["table.csv"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("write", WRITERS)
def test_names_that_are_not_utf8(
    result: Result, tmp_path: Path, write: Callable[[Result, Path], None]
) -> None:
    file = tmp_path / os.fsdecode(b"M\xfcller")
    write(result, file)
    assert file.stat().st_size > 0


def test_moved_project_finds_its_image(result: Result, tmp_path: Path) -> None:
    """Without the absolute path: the same path seen from the result, or beside it."""
    digest = result.run["source"]["sha256"]
    project = tmp_path / "project"
    (project / "images").mkdir(parents=True)
    file = (tmp_path / "tissue.png").rename(project / "images" / "tissue.png")
    source = {**result.run["source"], "path": str(file), "relative": "../images/tissue.png"}
    (result.path / "run.json").write_text(json.dumps({**result.run, "source": source}))
    (project / "results").mkdir()
    result.path.rename(project / "results" / "tissue.nucleus")

    moved = project.rename(tmp_path / "copy")
    opened = open_result(moved / "results" / "tissue.nucleus")
    assert opened.open_image().digest() == digest
    beside = (moved / "images" / "tissue.png").rename(moved / "results" / "tissue.png")
    assert opened.open_image().path == beside
    # another image of that name is passed over
    Image.new("RGB", SHAPE[::-1]).save(moved / "images" / "tissue.png")
    assert opened.open_image().path == beside
    elsewhere = beside.rename(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match="is not the image"):
        opened.open_image()
    assert opened.open_image(elsewhere).digest() == digest
    with pytest.raises(UserError, match="is not the image"):
        opened.open_image(moved / "images" / "tissue.png")


def test_results_that_do_not_know_where_they_lie(result: Result, tmp_path: Path) -> None:
    """Of earlier versions, and of Windows."""
    del result.run["source"]["relative"]
    result.run["source"]["path"] = r"C:\slides\tissue.png"
    assert result.open_image().path == tmp_path / "tissue.png"
    result.run["source"]["path"] = None
    assert result.image_paths() == []


def test_image_of_a_layer_is_known_by_its_pixels(
    result: Result, image: np.ndarray, tmp_path: Path
) -> None:
    result.run["source"] |= {"path": None, "sha256": slide_from_arrays([image]).digest()}
    assert result.open_image(tmp_path / "tissue.png").shape == SHAPE
    Image.new("RGB", SHAPE[::-1]).save(tmp_path / "tissue.png")
    with pytest.raises(UserError, match="is not the image"):
        result.open_image(tmp_path / "tissue.png")
