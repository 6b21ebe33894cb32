"""NuCLS: outlines and boxes of nuclei in CSV files beside images.

Amgad et al., GigaScience 2022, doi:10.1093/gigascience/giac037.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from shapely import affinity

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout, read_csv, read_image, reading
from napari_nucleus.datasets.formats.polygons import polygon, rasterize
from napari_nucleus.datasets.source import Source

NUCLS_TYPES = (
    "tumor",
    "mitotic_figure",
    "fibroblast",
    "lymphocyte",
    "plasma_cell",
    "macrophage",
    "neutrophil",
    "eosinophil",
    "vascular_endothelium",
    "ductal_epithelium",
    "myoepithelium",
    "apoptotic_body",
)
"""Raw classes; the thirteenth, ``unlabeled``, is none."""

_FOLDS = 5
_BOX = ["xmin", "ymin", "xmax", "ymax"]
_COLUMNS = ["raw_classification", "type", *_BOX, "coords_x", "coords_y"]


def _records(source: Source, layout: Layout) -> Iterator[Record]:
    folds = _read_folds(layout)
    for image in layout.glob("*rgb/*.png"):
        file = image.parent.with_name("csv") / f"{image.stem}.csv"
        slide = image.stem.split("_")[0]
        yield Record(image.stem, folds.get(slide, ""), file, partial(_read, image, file))


def _read_folds(layout: Layout) -> dict[str, str]:
    """Return the fold in which a slide is tested."""
    folds: dict[str, str] = {}
    for number in range(1, _FOLDS + 1):
        for file in layout.glob(f"*train_test_splits/fold_{number}_test.csv"):
            slides = read_csv(file, ["slide_name"])["slide_name"]
            folds |= dict.fromkeys(slides, f"fold{number}")
    return folds


def _read(image: Path, file: Path) -> AnnotatedImage:
    """Read an image; a box becomes a doubtful ellipse, and the rest of the box is ignored."""
    pixels, _ = read_image(image)
    size = pixels.shape[:2]
    table = read_csv(file, _COLUMNS, numbers=_BOX)
    classes = table["raw_classification"].str.removeprefix("correction_")
    is_nucleus = ~classes.str.startswith("fov")  # fields of view are listed among the nuclei
    nuclei, classes = table[is_nucleus], classes[is_nucleus]
    with reading(file, "outlines of nuclei"):
        boxes = shapely.box(*nuclei[_BOX].to_numpy(float).T)
        drawn = (nuclei["type"] == "polyline").to_numpy()
        outlines = [
            _polygon(row) if outlined else _ellipse(box)
            for (_, row), box, outlined in zip(nuclei.iterrows(), boxes, drawn, strict=True)
        ]
    labels = range(1, len(nuclei) + 1)
    return AnnotatedImage(
        pixels,
        rasterize(outlines, size),
        {label: name for label, name in zip(labels, classes, strict=True) if name in NUCLS_TYPES},
        doubtful=np.flatnonzero(~drawn) + 1,
        ignored=rasterize(boxes[~drawn], size) > 0,
    )


def _polygon(row: "pd.Series[str]") -> shapely.Polygon:
    x, y = (np.fromstring(row[key], sep=",") for key in ("coords_x", "coords_y"))
    return polygon(np.stack([x, y], 1))


def _ellipse(box: shapely.Polygon) -> shapely.Polygon:
    """Return the ellipse that fills a box."""
    x0, y0, x1, y1 = box.bounds
    disc = shapely.Point((x0 + x1) / 2, (y0 + y1) / 2).buffer(0.5, quad_segs=32)
    return affinity.scale(disc, x1 - x0, y1 - y0)


NUCLS = Format(
    name="nucls",
    title="NuCLS (Amgad et al. 2022)",
    licence="CC0 1.0",
    matches=lambda layout: bool(layout.glob("*rgb/*.png") and layout.glob("*csv/*.csv")),
    records=_records,
    parts=tuple(f"fold{number}" for number in range(1, _FOLDS + 1)),
    training_parts=tuple(f"fold{number}" for number in range(1, _FOLDS)),
    types=NUCLS_TYPES,
    common={
        **dict.fromkeys(("tumor", "mitotic_figure"), "malignant_epithelial"),
        **dict.fromkeys(("ductal_epithelium", "myoepithelium"), "normal_epithelial"),
        **dict.fromkeys(
            ("lymphocyte", "plasma_cell", "macrophage", "neutrophil", "eosinophil"), "inflammatory"
        ),
        **dict.fromkeys(("fibroblast", "vascular_endothelium"), "spindle"),
        "apoptotic_body": "miscellaneous",
    },
    mpp=0.2,
)
