"""Outputs that would destroy what they are made from are refused before anything is written."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing
from napari_nucleus.results.reader import Result


def check_outputs(
    result: Result, paths: Iterable[str | PathLike[str]], image: Path | None = None
) -> None:
    """Refuse outputs that are the image, a file of a result, or each other.

    Parameters
    ----------
    result : Result
        What is written.
    paths : iterable of str or path
        All files that one call writes.
    image : Path or None
        Its image, besides `Result.image_paths`.

    Raises
    ------
    UserError
        If one is refused, under whatever name or link.
    """
    images = [*result.image_paths(), *([image] if image and os.path.exists(image) else [])]
    seen: set[str] = set()
    for path in map(Path, paths):
        if os.path.exists(path) and any(
            os.path.exists(one) and path.samefile(one) for one in images
        ):
            raise UserError(f"{path} is the image that was segmented: choose another file.")
        if (folder := enclosing_result(path)) is not None:
            raise UserError(f"{path} is in the result {folder}: choose a file outside of it.")
        place = os.path.normcase(os.path.realpath(path))
        if place in seen:
            raise UserError(f"{path} is given twice: choose a file of its own for every output.")
        seen.add(place)


@contextmanager
def writing(result: Result, path: str | PathLike[str]) -> Iterator[Path]:
    """Write a file of a result whole or not at all, unless it is to be refused.

    Parameters
    ----------
    result : Result
        What is written.
    path : str or path
        The file.

    Yields
    ------
    Path
        Temporary file to write to, as `replacing` has it.

    Raises
    ------
    UserError
        If the file is refused (`check_outputs`), or cannot be written.
    """
    check_outputs(result, [path])
    with replacing(path) as part:
        yield part


def enclosing_result(path: str | PathLike[str]) -> Path | None:
    """Return the result folder that a path is, or lies in; None without one.

    Parameters
    ----------
    path : str or path
        It need not exist.
    """
    place = Path(os.path.realpath(path))
    for folder in (place, *place.parents):
        if all(map(os.path.exists, (folder / "run.json", folder / "labels.zarr"))):
            return folder
    return None
