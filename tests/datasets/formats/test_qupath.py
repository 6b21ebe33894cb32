"""Images with a GeoJSON beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import tifffile

from napari_nucleus.datasets import Source, find_types, load_source
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.results.export import write_geojson
from tests.datasets.published import BOXES, area, boxes, pixels, save, save_text
from tests.edits.folder import squares, write_result

Box = tuple[float, float, float, float]


def feature(
    box: Box, name: str | None = None, object_type: str = "annotation", **members: Any
) -> dict[str, Any]:
    """An object as QuPath 0.5 exports it."""
    properties: dict[str, Any] = {"objectType": object_type}
    if name:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = json.loads(shapely.to_geojson(shapely.box(*box)))
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties, **members}


def write(root: Path, features: list[dict[str, Any]], name: str = "a.png") -> Path:
    save(root / name, pixels(0))
    content = {"type": "FeatureCollection", "features": features}
    return save_text(root / f"{name.partition('.')[0]}.geojson", json.dumps(content))


def test_annotations_are_nuclei(tmp_path: Path) -> None:
    names = ("Tumor", "Immune cells", None)
    write(tmp_path, [feature(box, name) for box, name in zip(BOXES, names, strict=True)])
    (sample,) = load_source(Source(tmp_path), ["Immune cells", "Tumor"])
    assert np.array_equal(sample.image, pixels(0))
    assert np.array_equal(sample.labels, boxes())
    assert sample.types.tolist() == [0, 2, 1, UNKNOWN]
    assert (sample.name, sample.mpp, sample.ignored) == ("a", 0.25, None)
    assert find_types([Source(tmp_path)]) == ("Immune cells", "Tumor")


def test_holes_and_parts(tmp_path: Path) -> None:
    ring = shapely.box(2, 2, 12, 12).difference(shapely.box(5, 5, 9, 9))
    parts = shapely.MultiPolygon([shapely.box(14, 2, 18, 6), shapely.box(20, 2, 24, 6)])
    features = [feature(BOXES[0]) for _ in range(2)]
    for one, geometry in zip(features, (ring, parts), strict=True):
        one["geometry"] = json.loads(shapely.to_geojson(geometry))
    write(tmp_path, features)
    (sample,) = load_source(Source(tmp_path))
    assert np.array_equal(sample.labels == 1, area(2, 2, 12, 12) & ~area(5, 5, 9, 9))
    assert np.array_equal(sample.labels == 2, area(14, 2, 18, 6) | area(20, 2, 24, 6))


def test_cell_counts_with_its_nucleus(tmp_path: Path) -> None:
    nucleus = feature(BOXES[0])["geometry"]
    write(tmp_path, [feature((0, 0, 15, 15), "Tumor", "cell", nucleusGeometry=nucleus)])
    (sample,) = load_source(Source(tmp_path))
    assert np.array_equal(sample.labels > 0, area(*BOXES[0]))


def test_points_and_lines_are_passed_over(tmp_path: Path) -> None:
    other = [feature(BOXES[0]) for _ in range(2)]
    other[0]["geometry"] = {"type": "Point", "coordinates": [3, 4]}
    other[1]["geometry"] = {"type": "LineString", "coordinates": [[3, 4], [9, 9]]}
    write(tmp_path, [*other, feature(BOXES[1])])
    (sample,) = load_source(Source(tmp_path))
    assert np.array_equal(sample.labels, area(*BOXES[1]))


def test_regions_are_cut_out_and_the_rest_ignored(tmp_path: Path) -> None:
    triangle = feature((0, 0, 20, 16), "Region*")
    triangle["geometry"] = {
        "type": "Polygon",
        "coordinates": [[[0, 0], [20, 0], [0, 16], [0, 0]]],
    }
    box = feature((21, 12, 40, 30), "Region*")  # reaches beyond the image
    vague = feature((22, 13, 24, 16), "Ignore*")
    write(tmp_path, [triangle, box, vague, *(feature(b, "Tumor") for b in BOXES)])
    left, right = load_source(Source(tmp_path), ["Tumor"])
    assert (left.name, right.name) == ("a_x0_y0", "a_x21_y12")
    assert np.array_equal(left.image, pixels(0)[:16, :20])
    assert np.array_equal(left.labels, boxes()[:16, :20])
    y, x = np.mgrid[:16, :20] + 0.5
    assert left.ignored is not None
    assert np.array_equal(left.ignored, (x / 20 + y / 16 >= 1) & (left.labels == 0))
    assert right.image.shape == (12, 11, 3)
    assert np.array_equal(right.labels > 0, area(*BOXES[2])[12:, 21:])
    assert right.ignored is not None
    assert np.array_equal(right.ignored, area(22, 13, 24, 16)[12:, 21:])


def test_annotation_around_detections_is_where_they_were_made(tmp_path: Path) -> None:
    write(
        tmp_path,
        [feature((2, 1, 20, 14)), *(feature(box, "Tumor", "detection") for box in BOXES[:2])],
    )
    (sample,) = load_source(Source(tmp_path), ["Tumor"])
    assert sample.name == "a_x2_y1"
    assert np.array_equal(sample.labels, boxes()[1:14, 2:20])
    assert sample.types.tolist() == [0, 1, 1]


def test_our_own_export_comes_back_as_the_same_pixels(tmp_path: Path) -> None:
    labels = squares(48, 80)
    result = write_result(tmp_path / "a.nucleus", labels)
    folder = tmp_path / "exported"
    folder.mkdir()
    tifffile.imwrite(
        folder / "a.tif",
        np.zeros((48, 80, 3), np.uint8),
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    write_geojson(result, folder / "a.geojson")
    types = tuple(result.types)
    (sample,) = load_source(Source(folder), types)
    assert np.array_equal(sample.labels > 0, labels > 0)
    names = result.table().set_index("label")["type"]
    for label in range(1, labels.max() + 1):
        (found,) = np.unique(sample.labels[labels == label])
        assert types[sample.types[found] - 1] == names[label]
    assert sample.mpp == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_image_is_found_by_its_stem(tmp_path: Path, name: str) -> None:
    write(tmp_path, [feature(BOXES[0])], name)
    assert len(load_source(Source(tmp_path))) == 1
    (tmp_path / "a.geojson").rename(tmp_path / f"{name}.geojson")
    assert len(load_source(Source(tmp_path))) == 1


def test_image_that_is_missing_or_ambiguous_is_told(tmp_path: Path) -> None:
    write(tmp_path, [feature(BOXES[0])])
    save(tmp_path / "a.tif", pixels(1))
    with pytest.raises(UserError, match=r"a\.geojson has several images a\.png"):
        load_source(Source(tmp_path))
    (tmp_path / "a.tif").unlink()
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.geojson has no image a\.png, \.tif, … beside it"):
        load_source(Source(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]}',
        '{"features": [{"geometry": {"type": "Polygon", '
        '"coordinates": [[[0, 0], [NaN, 1], [2, 2], [0, 0]]]}}]}',
    ],
)
def test_damaged_geojson_is_told(tmp_path: Path, content: str) -> None:
    write(tmp_path, []).write_text(content)
    with pytest.raises(UserError, match=r"a\.geojson cannot be read as GeoJSON"):
        load_source(Source(tmp_path))


def test_region_outside_of_the_image_is_told(tmp_path: Path) -> None:
    write(tmp_path, [feature((40, 2, 50, 9), "Region*")])
    with pytest.raises(UserError, match=r"a\.png has 32 x 24 px, and a region lies outside"):
        load_source(Source(tmp_path))


def test_older_exports_are_a_bare_list(tmp_path: Path) -> None:
    file = write(tmp_path, [])
    names = {"names": ["Tumor", "Positive"]}
    one = {**feature(BOXES[0]), "properties": {"classification": names}}
    file.write_text(json.dumps([one]))
    (sample,) = load_source(Source(tmp_path), ["Tumor: Positive"])
    assert sample.types.tolist() == [0, 1]


def test_one_odd_object_does_not_cost_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What has no area is passed over; what is damaged is reported as well."""
    polygon: dict[str, Any] = {"type": "Polygon", "coordinates": [[[3, 3], [5, 5], [3, 3], [3, 3]]]}
    odd = [feature(BOXES[1], object_type="detection") for _ in range(6)]
    odd[0]["geometry"] = None
    odd[1]["geometry"] = {"type": "Polygon", "coordinates": []}
    odd[2]["geometry"] = polygon
    odd[3]["geometry"] = {"type": "Polygon", "coordinates": [[[3, 3], [float("nan"), 5], [4, 4]]]}
    odd[4]["geometry"] = {"type": "Polygon", "coordinates": [[[3, 3], [5, 5]]]}
    odd[5]["properties"]["classification"] = 7
    del odd[0]["properties"]
    nuclei = [feature(box, "Tumor", "detection") for box in BOXES]
    write(tmp_path, [*odd[:3], *nuclei, *odd[3:]])
    (sample,) = load_source(Source(tmp_path), ["Tumor"])
    assert np.array_equal(sample.labels, boxes())
    assert sample.types.tolist() == [0, 1, 1, 1]
    assert (
        "a.geojson: 3 of 9 objects are damaged and skipped, the first by: object 7" in caplog.text
    )


def test_without_any_area_the_file_is_refused(tmp_path: Path) -> None:
    click = {**feature(BOXES[0]), "geometry": {"type": "Point", "coordinates": [3, 4]}}
    write(tmp_path, [click])
    with pytest.raises(UserError, match=r"a\.geojson has no object with an area: export"):
        load_source(Source(tmp_path))
    write(tmp_path, [])
    (sample,) = load_source(Source(tmp_path))
    assert not sample.labels.any()


def test_polygons_of_a_collection_count(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [5, 5]]}
    one = feature(BOXES[0], "Tumor", "detection")
    one["geometry"] = {"type": "GeometryCollection", "geometries": [line, one["geometry"]]}
    write(tmp_path, [one, feature(BOXES[1], "Tumor", "detection")])
    (sample,) = load_source(Source(tmp_path), ["Tumor"])
    assert np.array_equal(sample.labels, np.where(boxes() < 3, boxes(), 0))


def test_class_given_as_text(tmp_path: Path) -> None:
    one = feature(BOXES[0])
    one["properties"]["classification"] = " Tumor "
    write(tmp_path, [one])
    assert find_types([Source(tmp_path)]) == ("Tumor",)


OLD = {
    "detection": "PathDetectionObject",
    "cell": "PathCellObject",
    "annotation": "PathAnnotationObject",
    "tile": "PathTileObject",
    "tmaCore": "TMACoreObject",
    "root": "PathRootObject",
}


@pytest.mark.parametrize(
    "named",
    [
        lambda name: {"properties": {"objectType": name}},  # QuPath 0.4 and later
        lambda name: {"properties": {"object_type": name.replace("Core", " core")}},  # 0.3
        lambda name: {"id": OLD[name], "properties": {}},  # 0.2
    ],
    ids=["0.4", "0.3", "0.2"],
)
def test_regions_tiles_and_cores_are_not_nuclei(
    tmp_path: Path, named: Callable[[str], dict[str, Any]]
) -> None:
    def made(box: Box, name: str) -> dict[str, Any]:
        return {**feature(box), **named(name)}

    nuclei = [made(BOXES[0], "detection"), made(BOXES[1], "cell")]
    around = (2, 1, 20, 14)
    others = [made(around, name) for name in ("annotation", "tile", "tmaCore", "root")]
    write(tmp_path, [*others, *nuclei])
    (sample,) = load_source(Source(tmp_path))
    assert sample.name == "a_x2_y1"
    expected = np.where(boxes() < 3, boxes(), 0)[1:14, 2:20]
    assert np.array_equal(sample.labels > 0, expected > 0)
    assert sample.labels.max() == 2


def test_annotation_around_many_others_is_refused(tmp_path: Path) -> None:
    """Drawn nuclei and the region around them are annotations alike."""
    nuclei = [feature((4 * i + 2, 4, 4 * i + 4, 7)) for i in range(5)]
    write(tmp_path, [feature((1, 1, 30, 20)), *nuclei])
    with pytest.raises(UserError, match=r"an annotation around 5 others.*the class Region\*"):
        load_source(Source(tmp_path))
    write(tmp_path, [feature((1, 1, 30, 20), "Region*"), *nuclei])
    assert load_source(Source(tmp_path))[0].labels.max() == 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    file = write(tmp_path, [feature(BOXES[0], "Zöliakie")])
    text = json.dumps(json.loads(file.read_text()), ensure_ascii=False)
    file.write_bytes(text.encode(encoding))
    assert find_types([Source(tmp_path)]) == ("Zöliakie",)


def test_hidden_files_beside_a_file_are_ignored(tmp_path: Path) -> None:
    file = write(tmp_path, [feature(BOXES[0])])
    for name in ("._a.png", "._a.geojson"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7Mac OS X")
    assert len(load_source(Source(file))) == len(load_source(Source(tmp_path))) == 1
