"""The images that a user names: files, folders and patterns."""

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from napari_nucleus.slides import is_slide_folder, slides_in
from napari_nucleus.slides.formats import SUFFIXES


class Found(NamedTuple):
    """What was found.

    Attributes
    ----------
    images : list of Path
        Each once; a file that does not exist is among them.
    skipped : list of Path
        Hidden files, and what is not an image.
    empty : list of Path
        Folders without an image.
    """

    images: list[Path]
    skipped: list[Path]
    empty: list[Path]


def find_images(named: Iterable[Path]) -> Found:
    """Find the images that a user names.

    Parameters
    ----------
    named : iterable of Path
        Files, folders (those in them are not searched, unless they are slides) and patterns such
        as ``slides/*.svs``, which the shell has not expanded. A single file is taken whatever its
        name is.

    Returns
    -------
    Found
        Images in the order in which they are named, and by name in a folder.
    """
    paths = [path for name in named for path in _expanded(name)]
    if len(paths) == 1 and not _is_folder(paths[0]):
        return Found(paths, [], [])
    images: dict[str, Path] = {}
    skipped: dict[str, Path] = {}
    empty = []
    for path in paths:
        is_folder = _is_folder(path) and ".nucleus" not in path.suffixes
        files = slides_in(path) if is_folder else [path]
        taken = [file for file in files if _is_image(file)]
        if is_folder and not taken:
            empty.append(path)
        images |= {os.path.abspath(file): file for file in taken}
        skipped |= {os.path.abspath(file): file for file in files if file not in taken}
    return Found(list(images.values()), list(skipped.values()), empty)


def _expanded(name: Path) -> Iterator[Path]:
    """Yield the files of a pattern, or the path itself."""
    pattern = os.path.expanduser(name)
    if has_magic(pattern) and not os.path.lexists(pattern):
        yield from map(Path, sorted(glob(pattern, recursive=True)) or [pattern])
    else:
        yield Path(pattern)


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a folder, and not itself a slide."""
    return os.path.isdir(path) and not is_slide_folder(path)


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if os.path.isdir(path):
        return is_slide_folder(path)
    return path.suffix.lower() in SUFFIXES or not os.path.lexists(path)
