"""Files: their hash and names, and writing them whole or not at all."""

import errno
import hashlib
import os
import re
import secrets
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


def portable_name(name: str) -> str:
    """Return a name that is valid on every system, also where it comes from a layer.

    It is cut to 220 bytes, so that there is room for a number, ``.nucleus`` and what is added while
    a file is written.

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    str
        With ``_`` for what Windows forbids and for bytes that are not UTF-8.

    Examples
    --------
    >>> portable_name("HE 3/4: stroma?"), portable_name("con")
    ('HE 3_4_ stroma_', 'con_')
    """
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]', "_", name) or "image"
    name = name.encode()[:_LONGEST].decode(errors="ignore")
    return f"{name}_" if _DEVICE.fullmatch(name.split(".")[0].strip()) else name


# File systems take 255 bytes.
_LONGEST = 220

# Names that Windows keeps for devices, with any suffix.
_DEVICE = re.compile(r"con|prn|aux|nul|com[1-9]|lpt[1-9]", re.IGNORECASE)

_ADVICE = {
    "free some space or choose another folder": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "the name is too long, choose a shorter one": (errno.ENAMETOOLONG,),
    "the disk is read-only, choose another folder": (errno.EROFS,),
    "you may not write there, choose another folder": (errno.EACCES, errno.EPERM),
    "a file is where a folder should be, choose another folder": (errno.ENOTDIR, errno.EEXIST),
    "the name has characters that are not allowed there, choose another": (
        errno.EINVAL,
        errno.EILSEQ,
    ),
}


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Report a full disk, or a file that cannot be written, in one line with advice.

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
        advice = (text for text, numbers in _ADVICE.items() if error.errno in numbers)
        raise UserError(
            f"Cannot write {path} ({reason}): {next(advice, 'choose another folder')}. Earlier "
            "files are unchanged."
        ) from error


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or path
        File to write; its folder is created. Where it is a link, the file that it leads to.

    Yields
    ------
    Path
        Temporary file to write to. It replaces `path` at the end of the block, and is removed if
        the block fails.

    Raises
    ------
    UserError
        If the disk is full, the file cannot be written, or `path` is a folder or a device.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isfile(target):  # a folder, /dev/null
        raise UserError(f"{path} is not a file: choose another name.")
    part = target.with_name(f"{target.name[:50]}.{secrets.token_hex(4)}.part")
    with write_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
