"""Images with a GeoJSON beside them, as QuPath exports its objects."""

import json
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import shape

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import IMAGES, Layout, read_image, reading
from napari_nucleus.datasets.formats.polygons import rasterize
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError
from napari_nucleus.slides import open_slide

_log = logging.getLogger(__name__)

_NUCLEI = "detection", "cell"
_OBJECT_TYPES = (*_NUCLEI, "annotation", "tile", "tmacore", "root")

_REGION, _IGNORE = "Region*", "Ignore*"
"""QuPath's classes of annotated regions and of regions to ignore."""


_CROWD = 5
"""Other annotations within one that is then not taken for a nucleus."""


class _Objects(NamedTuple):
    """The objects of an image, in level-0 pixels.

    Attributes
    ----------
    nuclei : list[tuple[shapely.Geometry, str]]
        Outline and class name, which may be empty.
    regions : list of shapely.Geometry
        Areas in which all nuclei are annotated; empty for the whole image.
    ignored : list of shapely.Geometry
        Ambiguous areas.
    """

    nuclei: list[tuple[shapely.Geometry, str]]
    regions: list[shapely.Geometry]
    ignored: list[shapely.Geometry]


class _Object(NamedTuple):
    """An object with an area.

    Attributes
    ----------
    outline : shapely.Geometry
        Polygon or multipolygon; of a cell that of its nucleus.
    object_type : str
        ``"annotation"``, ``"detection"``, ``"cell"``, ``"tile"``, ``"tmacore"`` or ``"root"``.
    name : str
        Class name, which may be empty.
    """

    outline: shapely.Geometry
    object_type: str
    name: str


def _read_objects(file: Path) -> _Objects:
    """Read a GeoJSON.

    Of a cell the nucleus counts. In a file with detections or cells these are the nuclei, and an
    annotation is the region in which they were found. Tiles and TMA cores are neither. Objects
    without an area, such as points and lines, are skipped, and damaged ones reported in the log.
    """
    with reading(file, "GeoJSON"):
        content = json.loads(file.read_bytes())  # UTF-8 or UTF-16, with or without mark
        features = content if isinstance(content, list) else content.get("features", [content])
        objects, damaged = _with_area(features)
        if damaged and not objects:
            raise damaged[0]
    if features and not objects:
        raise UserError(f"{file} has no object with an area: export nuclei with their outlines.")
    if damaged:
        _log.warning(
            "%s: %d of %d objects are damaged and skipped, the first by: %s",
            *(file.name, len(damaged), len(features), damaged[0]),
        )
    detected = any(one.object_type in _NUCLEI for one in objects)
    found = _Objects([], [], [])
    for outline, object_type, name in objects:
        if name == _IGNORE:
            found.ignored.append(outline)
        elif name == _REGION or (detected and object_type == "annotation"):
            found.regions.append(outline)
        elif object_type in _NUCLEI or object_type == "annotation":
            found.nuclei.append((outline, name))
    if not detected:
        _refuse_crowds([outline for outline, _ in found.nuclei], file)
    return found


def _with_area(features: list[Any]) -> tuple[list[_Object], list[ValueError]]:
    """Return the objects that have an area, and an error for each that is damaged."""
    objects, damaged = [], []
    for number, feature in enumerate(features, 1):
        try:
            if (one := _object(feature)) is not None:
                objects.append(one)
        except (AttributeError, KeyError, TypeError, ValueError, shapely.GEOSException) as error:
            damaged.append(ValueError(f"object {number}: {error}"))
    return objects, damaged


def _object(feature: dict[str, Any]) -> _Object | None:
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    if geometry is None:
        return None
    with np.errstate(invalid="ignore"):  # refused below
        outline = shape(geometry)
    if not np.isfinite(shapely.get_coordinates(outline)).all():
        raise ValueError("a coordinate is not finite")
    parts = [part for part in _parts(outline) if part.area > 0 or not part.is_valid]
    if not parts:
        return None
    properties = feature.get("properties") or {}
    return _Object(
        parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts),
        _object_type(feature, properties),
        _class_name(properties.get("classification")),
    )


def _parts(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """Return the polygons of a geometry; of a collection also those of its members."""
    if isinstance(geometry, shapely.Polygon):
        return [geometry]
    return [part for one in getattr(geometry, "geoms", ()) for part in _parts(one)]


def _object_type(feature: dict[str, Any], properties: dict[str, Any]) -> str:
    """Return the type of an object; before QuPath 0.4 it was kept elsewhere."""
    given = properties.get("objectType") or properties.get("object_type") or feature.get("id")
    name = re.sub(r"[^a-z]", "", str(given).lower()).removeprefix("path").removesuffix("object")
    return name if name in _OBJECT_TYPES else "annotation"


def _class_name(given: Any) -> str:
    if isinstance(given, str):
        return given.strip()
    given = given or {}
    return str(given.get("name") or ": ".join(given.get("names", []))).strip()


def _refuse_crowds(outlines: list[shapely.Geometry], file: Path) -> None:
    """Refuse an annotation that surrounds many others: it is a region, not a nucleus."""
    if not outlines:
        return
    tree = shapely.STRtree(shapely.centroid(outlines))
    around, inside = tree.query(outlines, predicate="contains")
    around, inside = around[around != inside], inside[around != inside]
    count = np.bincount(around, minlength=1)
    if count.max() >= _CROWD:
        raise UserError(
            f"{file} has an annotation around {count.max()} others, which is not a nucleus: give "
            f"it the class {_REGION} in QuPath, or delete it, and export again."
        )


def _image_of(file: Path, layout: Layout) -> Path:
    """Return the image ``<name>.tif`` of ``<name>.geojson`` or ``<name>.tif.geojson``."""
    found = [
        image
        for image in layout.files
        if image.parent == file.parent
        and image.suffix.lower() in (*IMAGES, ".ndpi")
        and file.stem in (image.name, image.stem, image.stem.removesuffix(".ome"))
    ]
    if len(found) != 1:
        has = "several images" if found else "no image"
        raise UserError(f"{file} has {has} {file.stem}.png, .tif, … beside it: it needs one.")
    return found[0]


def _records(source: Source, layout: Layout) -> Iterator[Record]:
    for file in layout.glob("*.geojson"):
        image = _image_of(file, layout)
        objects = _read_objects(file)
        if not objects.regions:
            yield Record(image.stem, "", file, partial(_read_whole, image, objects))
        for region in objects.regions:
            x, y = (int(edge) for edge in region.bounds[:2])
            read = partial(_read_region, image, objects, region)
            yield Record(f"{image.stem}_x{x}_y{y}", "", file, read)


def _read_whole(image: Path, objects: _Objects) -> AnnotatedImage:
    pixels, mpp = read_image(image)
    ignored = rasterize(objects.ignored, pixels.shape[:2]) > 0
    return _annotated(pixels, (0, 0), objects, ignored, mpp)


def _read_region(image: Path, objects: _Objects, region: shapely.Geometry) -> AnnotatedImage:
    slide = open_slide(image)
    height, width = slide.shape
    x0, y0, x1, y1 = region.bounds
    left, top = max(int(x0), 0), max(int(y0), 0)
    right, bottom = min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)
    if left >= right or top >= bottom:
        raise UserError(
            f"{image} has {width} x {height} px, and a region lies outside: is it the right image?"
        )
    size = (bottom - top, right - left)
    outside = rasterize([region], size, (left, top)) == 0
    ignored = outside | (rasterize(objects.ignored, size, (left, top)) > 0)
    pixels = slide.read(left, top, right - left, bottom - top)
    return _annotated(pixels, (left, top), objects, ignored, slide.mpp)


def _annotated(
    pixels: np.ndarray,
    origin: tuple[int, int],
    objects: _Objects,
    ignored: np.ndarray,
    mpp: float | None,
) -> AnnotatedImage:
    labels = rasterize([outline for outline, _ in objects.nuclei], pixels.shape[:2], origin)
    types = {label: name for label, (_, name) in enumerate(objects.nuclei, 1) if name}
    return AnnotatedImage(pixels, labels, types, ignored=ignored, mpp=mpp)


def _find_types(source: Source, layout: Layout) -> set[str]:
    files = layout.glob("*.geojson")
    return {name for file in files for _, name in _read_objects(file).nuclei if name}


QUPATH = Format(
    name="qupath",
    title="QuPath: <name>.geojson beside <name>.tif",
    licence="yours",
    matches=lambda layout: bool(layout.glob("*.geojson")),
    records=_records,
    find_types=_find_types,
)
