"""Our own result folders: what was segmented, corrected and marked as reviewed."""

from collections.abc import Callable, Iterator
from functools import cache, partial, reduce
from pathlib import Path

import numpy as np

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout
from napari_nucleus.datasets.source import Source
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.journal.edit import Region
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.results.journal.rows import NucleusTable
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box


def _results(layout: Layout) -> list[Path]:
    return [file for file in layout.files if file.suffix == ".nucleus"]


def _records(source: Source, layout: Layout) -> Iterator[Record]:
    for path in _results(layout):
        opened = cache(partial(_open, path, source.image))
        for regions in _grouped(reviewed_regions(path)):
            frame = reduce(Box.union, regions)
            name = f"{path.stem}_x{frame.x0}_y{frame.y0}"
            yield Record(name, "", path, partial(_read, opened, frame, regions))


def _grouped(regions: list[Region]) -> list[list[Box]]:
    """Group regions that overlap, so that no nucleus is in two samples."""
    groups: list[list[Box]] = []
    for region in regions:
        box = Box(*region)
        meeting = [group for group in groups if any(map(box.meets, group))]
        groups = [group for group in groups if group not in meeting]
        groups.append([box, *(one for group in meeting for one in group)])
    return groups


def _open(path: Path, image: Slide | None) -> tuple[Result, NucleusTable, Slide]:
    result = open_result(path)
    return result, result.nuclei(("label", "type")), image or result.open_image()


def _read(
    opened: Callable[[], tuple[Result, NucleusTable, Slide]], frame: Box, regions: list[Box]
) -> AnnotatedImage:
    result, nuclei, slide = opened()
    rectangle = (frame.x0, frame.y0, frame.width, frame.height)
    unreviewed = np.ones((frame.height, frame.width), bool)
    for box in regions:
        rows = slice(box.y0 - frame.y0, box.y1 - frame.y0)
        unreviewed[rows, box.x0 - frame.x0 : box.x1 - frame.x0] = False
    labels = np.where(unreviewed, 0, result.read_labels(*rectangle))
    shown = np.unique(labels)
    known = nuclei.rows(shown[nuclei.known(shown)])
    named = zip(known["label"].tolist(), known["type"].tolist(), strict=True)
    types = {label: name for label, name in named if name != UNTYPED}
    return AnnotatedImage(slide.read(*rectangle), labels, types, ignored=unreviewed, mpp=result.mpp)


def _find_types(source: Source, layout: Layout) -> set[str]:
    return {name for path in _results(layout) for name in open_result(path).types} - {UNTYPED}


RESULT = Format(
    name="result",
    title="result folder <name>.nucleus with reviewed regions",
    licence="yours",
    matches=lambda layout: bool(_results(layout)),
    records=_records,
    find_types=_find_types,
)
