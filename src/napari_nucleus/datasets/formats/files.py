"""Files of published datasets, read without trust: a damaged one is named in one line."""

import codecs
import csv
import io
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Self
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import scipy.io

from napari_nucleus.errors import UserError
from napari_nucleus.files import visible_files
from napari_nucleus.slides import open_slide

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs")

_DEEPEST = 6
"""Levels of subfolders that are searched: archives unpack into folders within folders."""

_CLOSED = (".zarr", ".nucleus")
"""Suffixes of folders that are one dataset entry, not a collection."""

_MOST_PIXELS = 2**28
"""Largest sample, which is held in memory as a whole: a square of 16384 px."""


@dataclass(frozen=True)
class Layout:
    """The files of a dataset, listed once for all formats.

    Attributes
    ----------
    root : Path
        The folder.
    files : tuple of Path
        Its files and result folders, by name, down to six folders deep. Hidden files and what
        macOS adds to archives are left out.
    """

    root: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, root: Path) -> Self:
        """List a folder, or a GeoJSON file with the images beside it.

        Parameters
        ----------
        root : Path
            The folder or file.

        Returns
        -------
        Layout
            Its files.

        Raises
        ------
        UserError
            If it does not exist.
        """
        root = root.absolute()
        if root.suffix == ".geojson" and root.is_file():
            beside = (file for file in visible_files(root.parent, "*") if file.is_file())
            files = [root, *(file for file in beside if file.suffix != ".geojson")]
            return cls(root.parent, tuple(sorted(files)))
        if not root.is_dir():
            raise UserError(f"{root} is not a folder: choose one that contains annotated images.")
        if root.suffix in _CLOSED:
            return cls(root, (root,))
        found: list[Path] = []
        for folder, folders, names in os.walk(root, followlinks=True):
            here = Path(folder)
            found += (here / name for name in names if not name.startswith("."))
            closed = (name for name in folders if name.endswith(_CLOSED))
            found += (here / name for name in closed if not name.startswith("."))
            deep = len(here.relative_to(root).parts) >= _DEEPEST
            folders[:] = [] if deep else [name for name in folders if _is_open(name)]
        return cls(root, tuple(sorted(found)))

    def glob(self, *patterns: str) -> list[Path]:
        """Return the files whose path from the root's name on fits a pattern, in any case.

        Parameters
        ----------
        *patterns : str
            Patterns in lower case. ``*`` matches folders, too: ``*/labels/*.mat`` finds ``Labels``
            at any depth.

        Returns
        -------
        list of Path
            By name.
        """
        return [
            file
            for file in self.files
            if any(fnmatch(self.below(file).lower(), pattern) for pattern in patterns)
        ]

    def below(self, file: Path) -> str:
        """Return the path of a file from the root's name on, which may be that of a part.

        Parameters
        ----------
        file : Path
            A file in the folder.

        Returns
        -------
        str
            With ``/`` between folders.
        """
        return file.relative_to(self.root.parent).as_posix()


def _is_open(name: str) -> bool:
    return not name.startswith((".", "__MACOSX")) and not name.endswith(_CLOSED)


@contextmanager
def reading(file: Path, content: str) -> Iterator[None]:
    """Report a missing or damaged file in one line.

    Parameters
    ----------
    file : Path
        File that is read.
    content : str
        What it should contain, for the message.

    Raises
    ------
    UserError
        For any exception of the block.
    """
    if not file.exists():
        raise UserError(f"{file} is missing: unpack or copy the dataset again.")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # libraries raise many kinds for damaged files
        why = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as {content} ({why}): replace it.") from error


def pair(
    images: Iterable[Path],
    annotations: Iterable[Path],
    key: Callable[[Path], Hashable] = lambda file: file.stem,
) -> list[tuple[Path | None, Path | None]]:
    """Pair images and annotations of the same name.

    Parameters
    ----------
    images, annotations : iterable of Path
        Files. Of several images with one name the last is taken.
    key : callable
        Function of a file; files with the same value belong together.

    Returns
    -------
    list of (Path or None, Path or None)
        Image and annotation; None where one is missing.
    """
    of_images = {key(file): file for file in images}
    of_annotations = {key(file): file for file in annotations}
    keys = dict.fromkeys([*of_images, *of_annotations])
    return [(of_images.get(one), of_annotations.get(one)) for one in keys]


def both(image: Path | None, annotation: Path | None) -> tuple[Path, Path]:
    """Return an image and its annotation, neither of which may be missing.

    Parameters
    ----------
    image, annotation : Path or None
        As `pair` returns them.

    Returns
    -------
    tuple of 2 Path
        The same.

    Raises
    ------
    UserError
        If one is None.
    """
    if image is None:
        raise UserError(f"{annotation} has no image of the same name: unpack the images, too.")
    if annotation is None:
        raise UserError(f"{image} has no annotation of the same name: every image needs one.")
    return image, annotation


def read_image(file: Path) -> tuple[np.ndarray, float | None]:
    """Read an image as a whole.

    Parameters
    ----------
    file : Path
        An image that `open_slide` reads.

    Returns
    -------
    image : (H, W, 3) ndarray of uint8
        RGB.
    mpp : float or None
        Micrometres per pixel, None where the file gives none.

    Raises
    ------
    UserError
        If it cannot be read, or is too large to be held in memory.
    """
    slide = open_slide(file)
    height, width = slide.shape
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"{file} has {width} x {height} px, too many for one annotated image: mark the "
            "annotated regions, or crop them."
        )
    return slide.read(0, 0, width, height), slide.mpp


def read_mat(file: Path, *keys: str) -> tuple[np.ndarray, ...]:
    """Read arrays of a MATLAB file by name.

    Parameters
    ----------
    file : Path
        MATLAB file up to version 7.
    *keys : str
        Names of the arrays.

    Returns
    -------
    tuple of ndarray
        In the order of `keys`.

    Raises
    ------
    UserError
        If it is missing, damaged or lacks an array.
    """
    with reading(file, "a MATLAB file"):
        content = scipy.io.loadmat(file, variable_names=keys)
    if missing := [key for key in keys if key not in content]:
        raise UserError(f"{file} has no {', '.join(missing)}: is it of this dataset?")
    return tuple(content[key] for key in keys)


def map_npy(file: Path) -> np.ndarray:
    """Map a NumPy file into memory; pickled objects are refused.

    Parameters
    ----------
    file : Path
        ``.npy`` file.

    Returns
    -------
    ndarray
        Read-only.

    Raises
    ------
    UserError
        If it is damaged or missing, or contains objects.
    """
    with reading(file, "a NumPy file"):
        return np.load(file, mmap_mode="r", allow_pickle=False)


def read_xml(file: Path) -> ElementTree.Element:
    """Read an XML file and return its root.

    Parameters
    ----------
    file : Path
        XML file.

    Returns
    -------
    xml.etree.ElementTree.Element
        Its root.

    Raises
    ------
    UserError
        If it is damaged or missing.
    """
    with reading(file, "XML"):
        return ElementTree.parse(file).getroot()


def read_csv(file: Path, columns: list[str], numbers: Collection[str] = ()) -> pd.DataFrame:
    """Read some columns of a table, separated by commas, semicolons or tabs.

    Parameters
    ----------
    file : Path
        Text file in UTF-8, UTF-16 with a byte-order mark, or Windows-1252.
    columns : list of str
        Names of the columns.
    numbers : collection of str
        Those of them that are numbers, empty ones NaN.

    Returns
    -------
    DataFrame
        With these columns. The others are text as it stands, without spaces around it: neither
        ``NA`` nor ``None`` is empty, and ``01`` is not 1.

    Raises
    ------
    UserError
        If it is damaged or missing, or lacks a column.
    """
    with reading(file, f"a table with columns {','.join(columns)}"):
        text = _decoded(file.read_bytes())
        first, _, rest = text.partition("\n")
        if first.strip().lower() in ("sep=,", "sep=;"):  # a line for Excel
            text, first = rest, rest.partition("\n")[0]
        separators = (mark for mark in ",;\t" if set(columns) <= _header(first, mark))
        separator = next(separators, None)
        if separator is None:
            raise UserError(
                f"{file} has no columns {','.join(columns)}: save it as CSV with commas, in UTF-8, "
                "and these names in the first line."
            )
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, na_filter=False
        )
        table = table.set_axis([name.strip() for name in table.columns], axis=1)[columns]
        table = table.apply(lambda column: column.str.strip())
        for name in numbers:
            column = table[name] if separator == "," else table[name].str.replace(",", ".")
            table[name] = pd.to_numeric(column.replace("", None))
    return table


def _decoded(data: bytes) -> str:
    """Return the text of a table, as Excel and others encode it."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _header(line: str, separator: str) -> set[str]:
    return {name.strip() for name in next(csv.reader([line.strip()], delimiter=separator), [])}
