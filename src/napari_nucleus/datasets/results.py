"""Our own result folders: what was segmented, corrected and marked as reviewed."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from napari_nucleus.datasets.files import Layout
from napari_nucleus.datasets.format import AnnotatedImage, Format, Record
from napari_nucleus.datasets.source import Source
from napari_nucleus.edits import reviewed_regions
from napari_nucleus.result import open_result

_UNTYPED = "nucleus"
"""What nuclei are called by a model that knows no types."""


def _results(layout: Layout) -> list[Path]:
    return [file for file in layout.files if file.suffix == ".nucleus"]


def _records(source: Source, layout: Layout) -> Iterator[Record]:
    for path in _results(layout):
        for box in reviewed_regions(path):
            name = f"{path.stem}_x{box[0]}_y{box[1]}"
            yield Record(name, "", path, partial(_read, path, box))


def _read(path: Path, box: tuple[int, int, int, int]) -> AnnotatedImage:
    result = open_result(path)
    slide = result.open_image()
    x0, y0, x1, y1 = box
    place = (x0, y0, x1 - x0, y1 - y0)
    table = result.table()
    table = table[table["type"] != _UNTYPED]
    types = dict(zip(table["label"].tolist(), table["type"].tolist(), strict=True))
    return AnnotatedImage(slide.read(*place), result.read_labels(*place), types, mpp=slide.mpp)


def _find_types(source: Source, layout: Layout) -> set[str]:
    return {name for path in _results(layout) for name in open_result(path).types} - {_UNTYPED}


RESULT = Format(
    name="result",
    title="result folder <name>.nucleus with reviewed regions",
    licence="yours",
    matches=lambda layout: bool(_results(layout)),
    records=_records,
    find_types=_find_types,
)
