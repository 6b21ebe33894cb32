"""The plain dataset folder: images, label images and tables of types."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import IMAGES, Layout, read_csv, read_image
from napari_nucleus.datasets.labels import read_labels, read_types
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError
from napari_nucleus.files import by_stem, visible_files


def image_files(folder: Path) -> list[Path]:
    """Return the images of a dataset folder, by name.

    Parameters
    ----------
    folder : Path
        Dataset folder with a folder ``images``.

    Returns
    -------
    list of Path
        Its images.

    Raises
    ------
    UserError
        If there is none, or two have the same stem and would share a label image.
    """
    images = folder / "images"
    files = [f for f in visible_files(images, "*") if f.suffix.lower() in IMAGES]
    if not files:
        raise UserError(
            f"{folder} has no images/<name>.png, .jpg or .tif: choose a dataset folder."
        )
    return list(by_stem(files).values())


def _matches(layout: Layout) -> bool:
    images = layout.root / "images"
    return any(file.parent == images and file.suffix.lower() in IMAGES for file in layout.files)


def _records(source: Source, layout: Layout) -> Iterator[Record]:
    doubtful = _read_doubtful(source)
    for file in image_files(source.path):
        labels = source.path / source.labels / f"{file.stem}.tif"
        table = source.path / "labels" / f"{file.stem}.csv"
        read = partial(_read, file, labels, table, doubtful.get(file.stem, set()))
        yield Record(file.stem, "", labels, read)


def _read(file: Path, labels: Path, table: Path, doubtful: set[int]) -> AnnotatedImage:
    image, mpp = read_image(file)
    found, ids = read_labels(labels)
    types = {}
    if table.exists():
        given = read_types(table)
        types = dict(zip(given.index.tolist(), given.tolist(), strict=True))
    return AnnotatedImage(image, ids[found], types, doubtful, mpp=mpp)


def _read_doubtful(source: Source) -> dict[str, set[int]]:
    if source.doubtful is None:
        return {}
    table = read_csv(source.path / source.doubtful, ["name", "label"], numbers=["label"])
    return {str(name): set(rows["label"]) for name, rows in table.groupby("name")}


def _find_types(source: Source, layout: Layout) -> set[str]:
    tables = visible_files(source.path / "labels", "*.csv")
    return {name for file in tables for name in read_types(file)}


FOLDER = Format(
    name="folder",
    title="dataset folder: images/<name>.png, labels/<name>.tif, labels/<name>.csv",
    licence="yours",
    matches=_matches,
    records=_records,
    find_types=_find_types,
)
