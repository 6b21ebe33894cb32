"""Files: their hash, and writing them whole or not at all."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from napari_nucleus.errors import UserError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder, without hidden ones such as ``._name`` of macOS.

    Parameters
    ----------
    folder : Path
        The folder.
    pattern : str
        Pattern of the names, such as ``"*.csv"``.

    Returns
    -------
    list of Path
        By name.
    """
    return [file for file in sorted(folder.glob(pattern)) if not file.name.startswith(".")]


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return files by their stem, which tells what belongs to them.

    Parameters
    ----------
    files : iterable of Path
        Files of one folder.

    Returns
    -------
    dict of str to Path
        In the order given.

    Raises
    ------
    UserError
        If two have the same stem.
    """
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(file.stem, file)
        if other is not file:
            raise UserError(
                f"{file.parent} has both {other.name} and {file.name}, which would share one name: "
                "keep or rename one."
            )
    return found


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Report a full disk, or a file that cannot be written, in one line.

    Parameters
    ----------
    path : Path
        File or folder that is written, for the message.

    Raises
    ------
    UserError
        For any `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UserError(
            f"Cannot write {path} ({reason}): free some space or choose another folder. Earlier "
            "files are unchanged."
        ) from error


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or path
        File to write; its folder is created.

    Yields
    ------
    Path
        Temporary file to write to. It replaces `path` at the end of the block, and is removed if
        the block fails.

    Raises
    ------
    UserError
        If the disk is full or the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
