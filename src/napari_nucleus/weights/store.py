"""Available weights: those that ship and the user's own, with their model cards."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError, safe_open

from napari_nucleus.errors import UserError
from napari_nucleus.files import visible_files

DEFAULT_MODEL = "histonext_atto_he"
"""Name of the weights that are used by default."""

_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


def trained_dir() -> Path:
    """Return the folder of the user's own weights."""
    return platformdirs.user_data_path("napari-nucleus") / "models"


def shipped_dir() -> Path:
    """Return the folder of the weights that come with the package."""
    return Path(str(files("napari_nucleus") / "weights"))


def list_checkpoints() -> dict[str, Path]:
    """Return the available weights, file by name: those that ship, then the user's own."""
    folders = (shipped_dir(), trained_dir())
    return {f.stem: f for folder in folders for f in visible_files(folder, "*.safetensors")}


def find_checkpoint(model: str | Path) -> Path:
    """Return the file of a checkpoint given by name or path.

    Parameters
    ----------
    model : str or Path
        A name of `list_checkpoints`, or a ``.safetensors`` file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If it does not exist, or is a pickled file.
    """
    known = list_checkpoints()
    if str(model) in known:
        return known[str(model)]
    path = Path(model)
    if path.suffix in _PICKLED:
        raise UserError(
            f"{path.name} is a pickled file, which can execute code: give a .safetensors "
            "checkpoint of napari-nucleus."
        )
    if not path.is_file():
        raise UserError(
            f"Unknown weights {str(model)!r}: give a .safetensors file"
            f"{' or one of ' * bool(known)}{', '.join(known)}."
        )
    return path


def read_card(path: Path) -> dict[str, Any]:
    """Read a checkpoint's metadata.

    Parameters
    ----------
    path : Path
        Safetensors file.

    Returns
    -------
    dict
        ``name``, ``types``, ``options``, ``mpp``, ``instances`` and ``card``.

    Raises
    ------
    UserError
        If the file is damaged or not a checkpoint of napari-nucleus.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path.name} is damaged or not a safetensors file ({error}): copy it again or choose "
            "another."
        ) from error
    needed = {"name", "types", "options", "mpp", "instances", "card"}
    if not needed <= metadata.keys():
        raise UserError(
            f"{path.name} contains weights of another program: choose a checkpoint of "
            "napari-nucleus."
        )
    try:
        return {key: json.loads(metadata[key]) for key in needed}
    except json.JSONDecodeError as error:
        raise UserError(f"{path.name} is damaged ({error}): copy it again.") from error


def check_shipped(path: Path, digest: str) -> None:
    """Refuse a shipped file that is incomplete, such as a Git LFS pointer.

    The shipped files are listed in ``SHA256SUMS``, in the format of `sha256sum`.

    Parameters
    ----------
    path : Path
        Checkpoint; only those of `shipped_dir` are checked.
    digest : str
        Its SHA-256, hexadecimal.

    Raises
    ------
    UserError
        If it differs from the listed one.
    """
    if path.parent != shipped_dir():
        return
    lines = (shipped_dir() / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: expected for expected, name in map(str.split, lines)}
    expected = sums.get(path.name, digest)
    if digest != expected:
        raise UserError(
            f"{path} is incomplete or changed: it has {path.stat().st_size:,} bytes and SHA-256 "
            f"{digest[:12]}…, expected {expected[:12]}…. Install napari-nucleus again."
        )
