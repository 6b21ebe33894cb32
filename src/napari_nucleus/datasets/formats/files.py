"""Files as data publishers write them, read without trust: what is damaged is named in a line."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import scipy.io

from napari_nucleus.errors import UserError
from napari_nucleus.slides import open_slide

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs")

_DEEPEST = 6
"""Folders below the one that was named: archives unpack into folders within folders."""

_CLOSED = (".zarr", ".nucleus")
"""Folders that are one thing, not a collection."""

_MOST_PIXELS = 2**28
"""A sample is held in memory as a whole; this is a square of 16384 px."""


@dataclass(frozen=True)
class Layout:
    """The files of a dataset, listed once, so that all formats can be tried on it.

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

        Raises
        ------
        UserError
            If there is no such folder.
        """
        root = root.absolute()
        if root.suffix == ".geojson" and root.is_file():
            beside = (file for file in root.parent.iterdir() if file.suffix != ".geojson")
            return cls(root.parent, tuple(sorted([root, *filter(Path.is_file, beside)])))
        if not root.is_dir():
            raise UserError(f"{root} is no folder: name one that holds annotated images.")
        if root.suffix in _CLOSED:
            return cls(root, (root,))
        found: list[Path] = []
        for folder, folders, names in os.walk(root, followlinks=True):
            here = Path(folder)
            found += (here / name for name in names if not name.startswith("."))
            found += (here / name for name in folders if name.endswith(_CLOSED))
            deep = len(here.relative_to(root).parts) >= _DEEPEST
            folders[:] = [] if deep else [name for name in folders if _is_open(name)]
        return cls(root, tuple(sorted(found)))

    def glob(self, *patterns: str) -> list[Path]:
        """Return the files whose path from the root's name on fits a pattern, in any case.

        ``*`` stands for folders, too: ``*/labels/*.mat`` finds ``Labels`` at any depth.
        """
        return [
            file
            for file in self.files
            if any(fnmatch(self.below(file).lower(), pattern) for pattern in patterns)
        ]

    def below(self, file: Path) -> str:
        """Return the path of a file from the root's name on, which may be that of a part."""
        return file.relative_to(self.root.parent).as_posix()


def _is_open(name: str) -> bool:
    return not name.startswith((".", "__MACOSX")) and not name.endswith(_CLOSED)


@contextmanager
def reading(file: Path, kind: str) -> Iterator[None]:
    """Tell in one line that a file is missing or damaged.

    Parameters
    ----------
    file : Path
        What is being read.
    kind : str
        What it should be, for the message.

    Raises
    ------
    UserError
        For any exception of the block.
    """
    if not file.exists():
        raise UserError(f"{file} is missing: the dataset is not complete.")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file provokes, the libraries let through
        why = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as {kind} ({why}): replace it.") from error


def pair(
    images: Iterable[Path],
    annotations: Iterable[Path],
    key: Callable[[Path], Hashable] = lambda file: file.stem,
) -> list[tuple[Path | None, Path | None]]:
    """Bring images and annotations of the same name together; None stands for what is missing.

    Parameters
    ----------
    images, annotations : iterable of Path
        Files. Of several images with one name the last is taken.
    key : callable
        What makes two files belong together.
    """
    of_images = {key(file): file for file in images}
    of_annotations = {key(file): file for file in annotations}
    keys = dict.fromkeys([*of_images, *of_annotations])
    return [(of_images.get(one), of_annotations.get(one)) for one in keys]


def both(image: Path | None, annotation: Path | None) -> tuple[Path, Path]:
    """Return the two.

    Raises
    ------
    UserError
        If one is missing.
    """
    if image is None:
        raise UserError(f"{annotation} has no image of its name: unpack the images, too.")
    if annotation is None:
        raise UserError(f"{image} has no annotation of its name: every image needs one.")
    return image, annotation


def read_image(file: Path) -> tuple[np.ndarray, float | None]:
    """Read an image as a whole.

    Returns
    -------
    image
        Uint8 (H, W, 3), RGB.
    mpp
        Micrometres per pixel, None where the file tells none.

    Raises
    ------
    UserError
        If it cannot be read, or is too large to be held in memory.
    """
    slide = open_slide(file)
    height, width = slide.shape
    if height * width > _MOST_PIXELS:
        raise UserError(
            f"{file} is {width} x {height} px, too large for one annotated image: mark the "
            "regions that are annotated, or cut them out."
        )
    return slide.read(0, 0, width, height), slide.mpp


def read_mat(file: Path, *keys: str) -> tuple[np.ndarray, ...]:
    """Read arrays of a MATLAB file by name.

    Raises
    ------
    UserError
        If it is damaged or lacks one.
    """
    with reading(file, "a MATLAB file"):
        content = scipy.io.loadmat(file, variable_names=keys)
    if missing := [key for key in keys if key not in content]:
        raise UserError(f"{file} holds no {', '.join(missing)}: is it of this dataset?")
    return tuple(content[key] for key in keys)


def map_npy(file: Path) -> np.ndarray:
    """Map a NumPy file into memory; pickled objects are refused.

    Raises
    ------
    UserError
        If it is damaged, missing, or holds objects.
    """
    with reading(file, "a NumPy file"):
        return np.load(file, mmap_mode="r", allow_pickle=False)


def read_xml(file: Path) -> ElementTree.Element:
    """Read an XML file and return its root.

    Raises
    ------
    UserError
        If it is damaged or missing.
    """
    with reading(file, "XML"):
        return ElementTree.parse(file).getroot()


def read_csv(file: Path, columns: list[str], **options: Any) -> pd.DataFrame:
    """Read some columns of a CSV file; `options` are those of `pandas.read_csv`.

    Raises
    ------
    UserError
        If it is damaged or missing, or lacks a column.
    """
    with reading(file, f"a table with columns {','.join(columns)}"):
        return pd.read_csv(file, usecols=columns, **options)
