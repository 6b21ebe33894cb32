"""Kumar, MoNuSeg and MoNuSAC: images with outlines in Aperio ImageScope's XML.

Kumar et al., IEEE TMI 2017, doi:10.1109/TMI.2017.2677499; Kumar et al., IEEE TMI 2020,
doi:10.1109/TMI.2019.2947628; Verma et al., IEEE TMI 2021, doi:10.1109/TMI.2021.3085712.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import shapely

from napari_nucleus.datasets.files import Layout, read_image, read_xml, reading
from napari_nucleus.datasets.format import AnnotatedImage, Format, Record
from napari_nucleus.datasets.matlab import read_instances
from napari_nucleus.datasets.polygons import rasterize
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError

_KUMAR = {
    "train": (
        "TCGA-18-5592 TCGA-21-5784 TCGA-38-6178 TCGA-50-5931 TCGA-A7-A13E TCGA-AR-A1AK "
        "TCGA-AR-A1AS TCGA-B0-5711 TCGA-E2-A14V TCGA-G9-6348 TCGA-G9-6356 TCGA-G9-6362 "
        "TCGA-G9-6363 TCGA-HE-7128 TCGA-HE-7129 TCGA-HE-7130"
    ),
    "test_same": (
        "TCGA-21-5786 TCGA-49-4488 TCGA-A7-A13F TCGA-CH-5767 TCGA-E2-A1B5 TCGA-G9-6336 "
        "TCGA-B0-5698 TCGA-B0-5710"
    ),
    "test_diff": ("TCGA-AY-A8YK TCGA-DK-A2I6 TCGA-KB-A93J TCGA-NH-A8F7 TCGA-RD-A8N9 TCGA-G2-A2EK"),
}
_KUMAR_PART = {patient: part for part, patients in _KUMAR.items() for patient in patients.split()}
"""Part by patient, as HoVer-Net's authors split the images (their ``data/README.md``)."""

_PATIENT = 12
"""Letters of a TCGA barcode that name the patient."""

_TEST = re.compile("Test|(?<![a-zA-Z])test")
_AMBIGUOUS = "ambiguous"


def read_regions(file: Path) -> list[tuple[str, shapely.Polygon]]:
    """Read the outlines of an ImageScope annotation.

    Returns
    -------
    list
        Name of the layer (its first attribute) in lower case, and polygon. Clicks and lines, which
        have fewer than three corners, are left out.

    Raises
    ------
    UserError
        If it is damaged or missing.
    """
    root = read_xml(file)
    regions = []
    with reading(file, "an ImageScope annotation"):
        for layer in root.iter("Annotation"):
            attribute = layer.find("./Attributes/Attribute")
            name = "" if attribute is None else attribute.get("Name", "").strip().lower()
            for region in layer.iter("Region"):
                corners = [
                    (float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")
                ]
                if len(corners) >= 3:
                    regions.append((name, shapely.Polygon(corners)))
    return regions


def _read(file: Path, image: Path, types: tuple[str, ...] = ()) -> AnnotatedImage:
    pixels, _ = read_image(image)
    regions = read_regions(file)
    vague = [outline for name, outline in regions if types and name == _AMBIGUOUS]
    nuclei = [(name, outline) for name, outline in regions if not types or name != _AMBIGUOUS]
    size = pixels.shape[:2]
    return AnnotatedImage(
        pixels,
        rasterize([outline for _, outline in nuclei], size),
        {label: name for label, (name, _) in enumerate(nuclei, 1) if name in types},
        ignored=rasterize(vague, size) > 0 if vague else None,
    )


def _image_of(file: Path, layout: Layout) -> Path:
    """Return the image with the name of an annotation; TIFF before the slide it was cut from."""
    for suffix in (".tif", ".svs"):
        for image in layout.files:
            if image.stem == file.stem and image.suffix.lower() == suffix:
                return image
    raise UserError(f"{file} has no image {file.stem}.tif: unpack the images beside it.")


def _kumar_records(source: Source, layout: Layout) -> Iterator[Record]:
    for file in layout.glob("*/labels/*.mat") or layout.glob("*.xml"):
        if part := _KUMAR_PART.get(file.stem[:_PATIENT]):
            read = partial(read_instances, file) if file.suffix == ".mat" else _reader(file, layout)
            yield Record(file.stem, part, file, read)


def _reader(
    file: Path, layout: Layout, types: tuple[str, ...] = ()
) -> Callable[[], AnnotatedImage]:
    return lambda: _read(file, _image_of(file, layout), types)


def _challenge_records(
    source: Source, layout: Layout, types: tuple[str, ...] = ()
) -> Iterator[Record]:
    for file in layout.glob("*.xml"):
        part = "test" if _TEST.search(layout.below(file)) else "train"
        yield Record(file.stem, part, file, _reader(file, layout, types))


def _is_kumar(layout: Layout) -> bool:
    files = layout.glob("*/labels/*.mat") or layout.glob("*.xml")
    return bool(files) and all(file.stem[:_PATIENT] in _KUMAR_PART for file in files)


def _is_monuseg(layout: Layout) -> bool:
    files = layout.glob("*.xml")
    return bool(files) and not _is_kumar(layout) and not _is_monusac(layout)


def _is_monusac(layout: Layout) -> bool:
    """Tell by the folders, one per slide: its images are ``<slide>/<slide>_<number>``."""
    files = layout.glob("*.xml")
    return bool(files) and all(file.stem.startswith(file.parent.name) for file in files)


KUMAR = Format(
    name="kumar",
    title="Kumar (Kumar et al. 2017)",
    licence="CC BY-NC-SA 4.0",
    matches=_is_kumar,
    records=_kumar_records,
    parts=("train", "test_same", "test_diff"),
    training_parts=("train",),
)

MONUSEG = Format(
    name="monuseg",
    title="MoNuSeg (Kumar et al. 2020)",
    licence="CC BY-NC-SA 4.0",
    matches=_is_monuseg,
    records=_challenge_records,
    parts=("train", "test"),
    training_parts=("train",),
)

_MONUSAC_TYPES = ("epithelial", "lymphocyte", "macrophage", "neutrophil")

MONUSAC = Format(
    name="monusac",
    title="MoNuSAC (Verma et al. 2021)",
    licence="CC BY-NC-SA 4.0",
    matches=_is_monusac,
    records=partial(_challenge_records, types=_MONUSAC_TYPES),
    parts=("train", "test"),
    training_parts=("train",),
    types=_MONUSAC_TYPES,
    common=dict.fromkeys(("lymphocyte", "macrophage", "neutrophil"), "inflammatory"),
)
