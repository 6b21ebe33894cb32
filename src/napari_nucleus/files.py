"""Files: what one holds, and writing it whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from napari_nucleus.errors import UserError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Tell the user when the disk is full or a place cannot be written to.

    Parameters
    ----------
    path : Path
        What is being written, for the message.

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
            "files are as they were."
        ) from error


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Write a file so that nobody ever sees half of it.

    Parameters
    ----------
    path : str or path
        The file to write; folders above it are made.

    Yields
    ------
    Path
        Where to write. It becomes `path` at the end of the block, and is removed if the block
        fails; until then an earlier file stays as it was.

    Raises
    ------
    UserError
        If the disk is full or the place cannot be written to.
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
