"""The finished parts of a segmentation that is not, on disk: what a stopped run goes on from."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, write_errors

IMAGE = "image"
"""Name of the setting without which no other needs to be compared."""

# What must be equal for a run to go on, and its name for the user.
_SETTINGS = {
    "sha256": IMAGE,
    "mpp": "µm/px",
    "model": "model",
    "instances": "post-processing of the model",
    "region": "region",
    "regions": "regions",
    "tissue": "tissue",
    "version": "version of napari-nucleus",
}


def unfinished_folder(result: Path) -> Path:
    """Return the folder of finished tiles beside a result that is to be.

    Parameters
    ----------
    result : Path
        The result folder, ``<stem>.nucleus``.
    """
    return result.with_name(f"{result.name}.unfinished")


def is_unfinished(result: Path) -> bool:
    """Tell whether there are tiles of an unfinished run.

    Parameters
    ----------
    result : Path
        The result folder that it was to write.
    """
    return _stored(unfinished_folder(result)) is not None


def other_settings(result: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return in which settings an unfinished run differs.

    Parameters
    ----------
    result : Path
        The result folder that it is to write.
    settings : mapping of str to Any
        Those of the new run (`Unfinished`), or some of them.

    Returns
    -------
    list of str
        Their names for the user; empty if there is no unfinished run, or one with these settings.
    """
    stored, wanted = _stored(unfinished_folder(result)), _plain(settings)
    if stored is None:
        return []
    return [_SETTINGS[name] for name in wanted if stored.get(name) != wanted[name]]


def finished_tiles(result: Path) -> tuple[int, int]:
    """Return how far an unfinished run came.

    Parameters
    ----------
    result : Path
        The result folder that it was to write.

    Returns
    -------
    done, total : int
        Tiles that are finished, and in all; 0 and 0 without one.
    """
    folder = unfinished_folder(result)
    total = (_stored(folder) or {}).get("tiles", 0)
    return sum(1 for _ in folder.glob("*.npz")) if total else 0, total


class Unfinished:
    """A folder with a file for every finished tile, and the settings that they were made with.

    It is made with the first tile. A file is written whole or not at all; the settings come before
    the first tile, and go after the last.

    Attributes
    ----------
    folder : Path
        The folder (`unfinished_folder`).

    Parameters
    ----------
    result : Path
        The result folder that is to be.
    settings : mapping of str to Any
        All that the nuclei depend on: `sha256` of the image, `mpp`, `model` (SHA-256), `instances`,
        `region`, `regions`, `tissue` and `version`.
    tiles : int
        Tiles in all.

    Raises
    ------
    UserError
        If there are tiles of other settings.
    """

    def __init__(self, result: Path, settings: Mapping[str, Any], tiles: int) -> None:
        self.folder = unfinished_folder(result)
        self._settings, self._tiles = _plain(settings), tiles
        self._beginning = Lock()
        if others := other_settings(result, settings):
            raise UserError(
                f"{self.folder} is an unfinished segmentation with another {', '.join(others)}: "
                "take the same again to finish it, delete it, or choose another folder."
            )

    def write(self, name: str, data: bytes) -> None:
        """Keep a tile.

        Parameters
        ----------
        name : str
            Its file name.
        data : bytes
            Contents of the file.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        with self._beginning:
            if _stored(self.folder) is None:
                text = json.dumps({"tiles": self._tiles, **self._settings}, indent=2)
                self._write("settings.json", text.encode())
        self._write(name, data)

    def read(self, name: str) -> bytes | None:
        """Return a tile, None if it is not there.

        Parameters
        ----------
        name : str
            Its file name.
        """
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the folder, once its tiles are part of a result.

        Raises
        ------
        UserError
            If it cannot be removed.
        """
        with write_errors(self.folder):
            remove_tiles(self.folder)

    def _write(self, name: str, data: bytes) -> None:
        with replacing(self.folder / name) as part, part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def remove_tiles(folder: Path) -> None:
    """Remove the folder of an unfinished run, if there is one.

    Parameters
    ----------
    folder : Path
        The folder (`unfinished_folder`).

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    for tile in folder.glob("*.npz"):
        tile.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _stored(folder: Path) -> dict[str, Any] | None:
    """Return the settings of an unfinished run, None without one; those of a damaged one differ."""
    try:
        return dict(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    except OSError:  # there is no run, or it was killed before its first tile
        return {} if any(folder.glob("*.npz")) else None
    except ValueError:
        return {}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON has them."""
    return dict(json.loads(json.dumps(dict(settings), default=float)))
