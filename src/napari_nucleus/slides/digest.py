"""Digests: what identifies an image file, wherever it lies and whatever it is called."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tifffile import TiffFile

from napari_nucleus.files import sha256

SAMPLED = "sampled-"
"""Begins a digest for which a part of the image was read."""

WHOLE = 2**26
"""Bytes up to which all of a file is read."""

_BLOCK = 2**16
_BLOCKS = 64
_END = 2**20


def file_digest(path: Path, whole: bool = False) -> str:
    """Return what identifies a file.

    Parameters
    ----------
    path : Path
        The file.
    whole : bool
        Read all of it, whatever its size.

    Returns
    -------
    str
        SHA-256, hexadecimal. Of a file over 64 MiB it is ``sampled-`` and the SHA-256 of its size,
        its first and last MiB, 64 blocks of 64 KiB at equal distances, and in TIFF the directories,
        which tell the length of every compressed tile.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    size = path.stat().st_size
    if whole or size <= WHOLE:
        return sha256(path)
    with path.open("rb") as file:
        starts = np.linspace(_END, size - _END - _BLOCK, _BLOCKS).astype(int)
        parts = [(0, _END), *((start, _BLOCK) for start in starts), (size - _END, _END)]
        return sampled_digest([str(size).encode(), *_read(file, parts), *_directories(path)])


def sampled_digest(parts: Iterable[bytes]) -> str:
    """Return the digest of parts of an image.

    Parameters
    ----------
    parts : iterable of bytes
        What identifies the image.

    Returns
    -------
    str
        ``sampled-`` and their SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return SAMPLED + digest.hexdigest()


def _read(file: BinaryIO, parts: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for start, length in parts:
        file.seek(start)
        yield file.read(length)


def _directories(path: Path) -> list[bytes]:
    """Return the tags of all pages of a TIFF file as they are stored; none of another file."""
    with suppress(Exception), TiffFile(path) as tif:  # tifffile raises many kinds
        tags = [tag for page in tif.pages for tag in page.aspage().tags]
        places = [(tag.valueoffset, tag.valuebytecount) for tag in tags]
        with path.open("rb") as file:
            return list(_read(file, places))
    return []
