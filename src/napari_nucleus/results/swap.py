"""A new result folder takes the place of an earlier one, which stays until the new one is whole."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_nucleus.errors import UserError
from napari_nucleus.files import visible_files, write_errors
from napari_nucleus.results.journal.lock import is_locked
from napari_nucleus.results.journal.state import has_edits
from napari_nucleus.results.unfinished import remove_tiles, unfinished_folder
from napari_nucleus.slides.digest import SAMPLED, file_digest

_NAMES = {"labels.zarr", "nuclei.parquet", "run.json", "edits.jsonl", "edits.lock"}
_FILE_MANAGER_FILES = {"Thumbs.db", "desktop.ini"}  # besides hidden files


class Swap:
    """A place to write a result to, and its exchange for an earlier one.

    One run at a time has the place: its lock is the operating system's and goes with the process.
    What it writes, and the earlier result for the moment of the exchange, have names of their own,
    so that nothing else of the user's is ever touched.

    Attributes
    ----------
    target : Path
        Where the result goes: `path`, or where it leads if it is a link.
    part : Path
        Folder to write to.

    Parameters
    ----------
    path : Path
        The result folder.
    source : mapping of str to Any
        The entry `source` of `run.json`.

    Raises
    ------
    UserError
        If another run writes to `path`, it must not be replaced, or cannot be written.
    """

    def __init__(self, path: Path, source: Mapping[str, Any]) -> None:
        self._path = path
        self._source = source
        self.target = _target(path)
        token = secrets.token_hex(4)
        self.part = self.target.with_name(f"{self.target.name}.{token}.part")
        self._old = self.target.with_name(f"{self.target.name}.{token}.old")
        with write_errors(path):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            lock = _try_lock(self.target)
        if lock is None:
            raise UserError(
                f"{path} is being written by another run: wait for it, or choose another folder."
            )
        self._lock = lock
        try:
            with write_errors(path):
                _put_back(self.target)
                self._check()
                for leftover in _leftovers(self.target):
                    shutil.rmtree(leftover)
                self.part.mkdir()
        except BaseException:
            _unlock(lock)
            raise

    def finish(self) -> None:
        """Exchange the earlier result, if there is one, for the new one.

        Raises
        ------
        UserError
            If the earlier one must not be replaced any more.
        OSError
            If a folder cannot be moved; all is as it was then.
        """
        self._check()
        if self.target.exists():
            self.target.rename(self._old)
        try:
            self.part.rename(self.target)
        except OSError:
            if self._old.exists():
                self._old.rename(self.target)
            raise
        shutil.rmtree(self._old, ignore_errors=True)

    def close(self) -> None:
        """Remove what was not finished, and let others write."""
        shutil.rmtree(self.part, ignore_errors=True)
        _unlock(self._lock)

    def _check(self) -> None:
        """Refuse to replace what is not a result, was corrected, or is of another image."""
        if not self.target.exists():
            return
        if not is_result_only(self.target):
            raise UserError(
                f"{self._path} contains files that are not of a result: choose another folder."
            )
        if is_corrected(self.target):
            raise UserError(
                f"{self._path} has manual corrections: choose another folder, or delete this one "
                "first."
            )
        if is_locked(self.target):
            raise UserError(
                f"{self._path} is being corrected in another window: close it there first."
            )
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: nothing to be lost
            run = json.loads((self.target / "run.json").read_text(encoding="utf-8"))
            if not _is_same(self._source, run["source"]):
                raise UserError(
                    f"{self._path} is the result of another image: choose another folder, or "
                    "delete this one first."
                )


def put_back(path: Path) -> None:
    """Put an earlier result back that a run was about to replace when it was killed.

    Parameters
    ----------
    path : Path
        The result folder.

    Raises
    ------
    UserError
        If it cannot be moved.
    """
    target = Path(os.path.realpath(path))
    if os.path.exists(target) or _earlier(target) is None:
        return
    with write_errors(path):
        lock = _try_lock(target)
        if lock is not None:  # else a run is about to finish
            try:
                _put_back(target)
            finally:
                _unlock(lock)


def remove_leftovers(path: Path) -> None:
    """Remove the tiles that a run has left which was killed when its result was whole.

    Parameters
    ----------
    path : Path
        The result folder.

    Raises
    ------
    UserError
        If they cannot be removed.
    """
    target = Path(os.path.realpath(path))
    if not unfinished_folder(path).exists():
        return
    with write_errors(path):
        lock = _try_lock(target)
        if lock is not None:  # else a run makes it again
            try:
                remove_tiles(unfinished_folder(path))
            finally:
                _unlock(lock)


def is_corrected(folder: Path) -> bool:
    """Tell whether a result, which may be damaged, was corrected by hand.

    Parameters
    ----------
    folder : Path
        The result folder.
    """
    try:
        return has_edits(folder)
    except (OSError, ValueError):  # no table to be read
        return False


def is_result_only(folder: Path) -> bool:
    """Tell whether a folder has the files of a result and no others.

    Parameters
    ----------
    folder : Path
        The folder.
    """
    if not folder.is_dir():
        return False
    return not {file.name for file in visible_files(folder, "*")} - _NAMES - _FILE_MANAGER_FILES


def _is_same(source: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Tell whether two results are of one image."""
    digest, _, variant = source["sha256"].partition("#")
    if digest.startswith(SAMPLED) and not earlier["sha256"].startswith(SAMPLED):
        # Earlier versions stored the SHA-256 of all of a large file, of its only image.
        whole = source["path"] and file_digest(Path(source["path"]), whole=True)
        return not variant and whole == earlier["sha256"]
    return source["sha256"] == earlier["sha256"]


def _target(path: Path) -> Path:
    """Follow links, of which the last must lead somewhere."""
    target = Path(os.path.realpath(path))
    if os.path.islink(path) and not os.path.exists(target) and _earlier(target) is None:
        raise UserError(
            f"{path} is a link to {target}, which is not there: connect the disk that it is on, "
            "or remove the link."
        )
    return target


def _moved(target: Path, suffix: str) -> Iterator[Path]:
    """Yield what runs have left beside a result under names of their own."""
    pattern = re.compile(rf"{re.escape(target.name)}\.[0-9a-f]{{8}}\.{suffix}")
    with suppress(OSError):  # no folder, or none that may be read
        yield from (one for one in target.parent.iterdir() if pattern.fullmatch(one.name))


def _leftovers(target: Path) -> Iterator[Path]:
    """Yield what killed runs have left and nobody needs."""
    for folder in [*_moved(target, "part"), *_moved(target, "old")]:
        if is_result_only(folder) and not is_corrected(folder):
            yield folder


def _earlier(target: Path) -> Path | None:
    """Return the result that was moved away."""
    found = (one for one in _moved(target, "old") if (one / "run.json").is_file())
    return next(found, None)


def _put_back(target: Path) -> None:
    earlier = _earlier(target)
    if earlier is not None and not target.exists():
        earlier.rename(target)


def _try_lock(target: Path) -> FileLock | None:
    lock = FileLock(target.with_name(f".{target.name}.lock"), thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _unlock(lock: FileLock) -> None:
    with suppress(OSError):  # before it is released, or it would be another's; not on Windows
        Path(lock.lock_file).unlink()
    lock.release()
