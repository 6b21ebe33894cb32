"""TNBC, CryoNuSeg and NuInsSeg: images beside label images or masks.

Naylor et al., IEEE TMI 2019, doi:10.1109/TMI.2018.2865709; Mahbod et al., Computers in Biology and
Medicine 2021, doi:10.1016/j.compbiomed.2021.104349; Mahbod et al., Scientific Data 2024,
doi:10.1038/s41597-024-03117-2.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import skimage.measure

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout, read_image
from napari_nucleus.datasets.labels import read_label_image
from napari_nucleus.datasets.source import Source

_LABELS = "label masks modify"
"""Folder in which overlapping nuclei have one number each; in ``label masks`` numbers are sums."""


def _tnbc_records(source: Source, layout: Layout) -> Iterator[Record]:
    for image in layout.glob("*slide_*/*.png"):
        patient = image.parent.name.lower().removeprefix("slide_")
        file = image.parent.with_name(f"GT_{patient}") / image.name
        yield Record(image.stem, "", file, partial(_read_tnbc, image, file))


def _read_tnbc(image: Path, file: Path) -> AnnotatedImage:
    mask, _ = read_image(file)
    # Nuclei are separate components; pixels that touch by a corner belong together.
    labels = skimage.measure.label(mask[..., 0], connectivity=2)
    return AnnotatedImage(read_image(image)[0], labels)


def _cryonuseg_records(source: Source, layout: Layout) -> Iterator[Record]:
    found = layout.glob(f"*/{_LABELS}/*.tif")
    # Two annotators, one of them twice: the first round of the first is the reference, and lies in
    # the folder with the shortest name.
    folder = min((file.parent for file in found), key=lambda f: len(f.as_posix()), default=None)
    for image in layout.glob("*tissue images/*.tif"):
        file = (folder or image.parent) / image.name
        yield Record(image.stem, "", file, partial(_read_labels, image, file))


def _nuinsseg_records(source: Source, layout: Layout) -> Iterator[Record]:
    for image in layout.glob("*tissue images/*.png"):
        organ = image.parent.parent
        file = organ / _LABELS / f"{image.stem}.tif"
        vague = organ / "vague areas" / "mask binary" / image.name
        yield Record(image.stem, "", file, partial(_read_labels, image, file, vague))


def _read_labels(image: Path, file: Path, vague: Path | None = None) -> AnnotatedImage:
    ignored = None
    if vague is not None and vague.exists():
        ignored = read_image(vague)[0][..., 0] > 0
    return AnnotatedImage(read_image(image)[0], read_label_image(file), ignored=ignored)


def _has_labels(layout: Layout, suffix: str) -> bool:
    images = layout.glob(f"*tissue images/*.{suffix}")
    return bool(images and layout.glob(f"*/{_LABELS}/*.tif"))


TNBC = Format(
    name="tnbc",
    title="TNBC (Naylor et al. 2019)",
    licence="CC BY 4.0",
    matches=lambda layout: bool(layout.glob("*slide_*/*.png") and layout.glob("*gt_*/*.png")),
    records=_tnbc_records,
)

CRYONUSEG = Format(
    name="cryonuseg",
    title="CryoNuSeg (Mahbod et al. 2021)",
    licence="CC BY-NC-SA 4.0",
    matches=lambda layout: _has_labels(layout, "tif"),
    records=_cryonuseg_records,
)

NUINSSEG = Format(
    name="nuinsseg",
    title="NuInsSeg (Mahbod et al. 2024)",
    licence="CC BY 4.0",
    matches=lambda layout: _has_labels(layout, "png"),
    records=_nuinsseg_records,
    mpp=0.15,
)
