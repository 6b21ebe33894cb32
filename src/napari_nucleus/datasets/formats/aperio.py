"""Kumar, MoNuSeg and MoNuSAC: images with outlines in Aperio ImageScope's XML.

Kumar et al., IEEE TMI 2017, doi:10.1109/TMI.2017.2677499; Kumar et al., IEEE TMI 2020,
doi:10.1109/TMI.2019.2947628; Verma et al., IEEE TMI 2021, doi:10.1109/TMI.2021.3085712.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import shapely

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout, both, pair, read_image, read_xml, reading
from napari_nucleus.datasets.formats.matlab import MAPS, instance_records
from napari_nucleus.datasets.formats.polygons import polygon, rasterize
from napari_nucleus.datasets.source import Source

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
KUMAR_PART = {patient: part for part, patients in _KUMAR.items() for patient in patients.split()}
"""Part by patient, as HoVer-Net's authors split the images (their ``data/README.md``)."""

_PATIENT = 12
"""Letters of a TCGA barcode that name the patient."""

_TEST = re.compile("Test|(?<![a-zA-Z])test")
_TEST_ROOT = re.compile("Test(ing)? ?Data")
"""As the challenges call it; a folder of one's own may be called test for other reasons."""

_AMBIGUOUS = "ambiguous"


def read_regions(file: Path) -> list[tuple[str, shapely.Polygon]]:
    """Read the outlines of an ImageScope annotation.

    Parameters
    ----------
    file : Path
        XML file.

    Returns
    -------
    list of (str, shapely.Polygon)
        Name of the layer (its first attribute) in lower case, and polygon with corners (x, y) in
        level-0 pixels. Clicks and lines, which have fewer than three corners, are left out.

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
                    regions.append((name, polygon(corners)))
    return regions


def _records(
    source: Source,
    layout: Layout,
    part: Callable[[Layout, Path], str | None],
    types: tuple[str, ...] = (),
) -> Iterator[Record]:
    images = [*layout.glob("*.svs"), *layout.glob("*.tif")]  # a slide only where no TIFF was cut
    for image, regions in pair(images, layout.glob("*.xml")):
        file = regions or image
        assert file is not None
        if (official := part(layout, file)) is not None:
            yield Record(file.stem, official, file, partial(_read, image, regions, types))


def _read(image: Path | None, regions: Path | None, types: tuple[str, ...]) -> AnnotatedImage:
    image, file = both(image, regions)
    pixels, _ = read_image(image)
    found = read_regions(file)
    vague = [outline for name, outline in found if types and name == _AMBIGUOUS]
    nuclei = [(name, outline) for name, outline in found if not types or name != _AMBIGUOUS]
    size = pixels.shape[:2]
    return AnnotatedImage(
        pixels,
        rasterize([outline for _, outline in nuclei], size),
        {label: name for label, (name, _) in enumerate(nuclei, 1) if name in types},
        ignored=rasterize(vague, size) > 0 if vague else None,
    )


def _kumar_records(source: Source, layout: Layout) -> Iterator[Record]:
    if layout.glob(MAPS):
        return instance_records(source, layout, part=lambda file: _kumar_part(layout, file))
    return _records(source, layout, _kumar_part)


def _kumar_part(layout: Layout, file: Path) -> str | None:
    return KUMAR_PART.get(file.stem[:_PATIENT])


def _challenge_part(layout: Layout, file: Path) -> str:
    root, _, below = layout.below(file).partition("/")
    return "test" if _TEST_ROOT.search(root) or _TEST.search(below) else "train"


def _is_kumar(layout: Layout) -> bool:
    files = layout.glob(MAPS, "*.xml")
    return bool(files) and all(file.stem[:_PATIENT] in KUMAR_PART for file in files)


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
    records=partial(_records, part=_challenge_part),
    parts=("train", "test"),
    training_parts=("train",),
)

_MONUSAC_TYPES = ("epithelial", "lymphocyte", "macrophage", "neutrophil")

MONUSAC = Format(
    name="monusac",
    title="MoNuSAC (Verma et al. 2021)",
    licence="CC BY-NC-SA 4.0",
    matches=_is_monusac,
    records=partial(_records, part=_challenge_part, types=_MONUSAC_TYPES),
    parts=("train", "test"),
    training_parts=("train",),
    types=_MONUSAC_TYPES,
    common=dict.fromkeys(("lymphocyte", "macrophage", "neutrophil"), "inflammatory"),
)
