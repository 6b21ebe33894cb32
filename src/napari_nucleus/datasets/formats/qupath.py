"""Images with a GeoJSON beside them, as QuPath exports its objects."""

import json
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

_REGION, _IGNORE = "Region*", "Ignore*"
"""QuPath's classes of annotated regions and of regions to ignore."""


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


def _read_objects(file: Path) -> _Objects:
    """Read a GeoJSON.

    Of a cell the nucleus counts. In a file with detections or cells these are the nuclei, and an
    annotation is the region in which they were found. Points and lines have no outline and are
    passed over.
    """
    with reading(file, "GeoJSON"):
        content = json.loads(file.read_text(encoding="utf-8"))
        features = content if isinstance(content, list) else content.get("features", [content])
        objects = [_object(feature) for feature in features]
    objects = [one for one in objects if one[0].geom_type in ("Polygon", "MultiPolygon")]
    detected = any(kind in ("detection", "cell") for _, kind, _ in objects)
    found = _Objects([], [], [])
    for outline, kind, name in objects:
        if name == _IGNORE:
            found.ignored.append(outline)
        elif name == _REGION or (detected and kind == "annotation"):
            found.regions.append(outline)
        else:
            found.nuclei.append((outline, name))
    return found


def _object(feature: dict[str, Any]) -> tuple[shapely.Geometry, str, str]:
    """Return outline, object type and class name."""
    properties = feature.get("properties") or {}
    given = properties.get("classification") or {}
    name = given.get("name") or ": ".join(given.get("names", []))
    with np.errstate(invalid="ignore"):  # refused below
        outline = shape(feature.get("nucleusGeometry") or feature["geometry"])
    if not np.isfinite(shapely.get_coordinates(outline)).all():
        raise ValueError("a coordinate is not finite")
    return outline, properties.get("objectType", "annotation"), name


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
