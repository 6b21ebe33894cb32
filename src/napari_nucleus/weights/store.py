"""Which weights there are: those that ship and the user's own, with their model cards."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError, safe_open

from napari_nucleus.errors import UserError

DEFAULT_MODEL = "histonext_atto_he"
"""Name of the weights that ship, used where none is named."""

_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


def trained_dir() -> Path:
    """Return the folder in which a user's own weights are found by name."""
    return platformdirs.user_data_path("napari-nucleus") / "models"


def shipped_dir() -> Path:
    """Return the folder of the weights that come with the package."""
    return Path(str(files("napari_nucleus") / "weights"))


def list_checkpoints() -> dict[str, Path]:
    """Return the weights that can be had by name: those that ship, then the user's own."""
    folders = (shipped_dir(), trained_dir())
    return {f.stem: f for folder in folders for f in sorted(folder.glob("*.safetensors"))}


def find_checkpoint(model: str | Path) -> Path:
    """Return the file of a checkpoint given by name or path.

    Raises
    ------
    UserError
        If there is no such file, or it is of a pickled kind.
    """
    known = list_checkpoints()
    if str(model) in known:
        return known[str(model)]
    path = Path(model)
    if path.suffix in _PICKLED:
        raise UserError(
            f"{path.name} is a pickled file, which may run foreign code: "
            "give a .safetensors checkpoint made by napari-nucleus."
        )
    if not path.is_file():
        raise UserError(
            f"There are no weights {str(model)!r}: give a .safetensors file"
            f"{' or one of ' * bool(known)}{', '.join(known)}."
        )
    return path


def read_card(path: Path) -> dict[str, Any]:
    """Read a checkpoint's metadata: name, types, options, mpp, instances, card.

    Raises
    ------
    UserError
        If the file is damaged or was not made by this project.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path.name} is damaged or no safetensors file ({error}): copy it again or choose "
            "another."
        ) from error
    needed = {"name", "types", "options", "mpp", "instances", "card"}
    if not needed <= metadata.keys():
        raise UserError(
            f"{path.name} holds weights of another program: napari-nucleus needs a checkpoint "
            "that its own training made."
        )
    try:
        return {key: json.loads(metadata[key]) for key in needed}
    except json.JSONDecodeError as error:
        raise UserError(f"{path.name} is damaged ({error}): copy it again.") from error


def check_shipped(path: Path, digest: str) -> None:
    """Refuse a file of the package that has not come whole, such as Git LFS's pointer to it.

    What ships is listed beside it in ``SHA256SUMS``, as `sha256sum` writes and checks it.
    """
    if path.parent != shipped_dir():
        return
    lines = (shipped_dir() / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: expected for expected, name in map(str.split, lines)}
    expected = sums.get(path.name, digest)
    if digest != expected:
        raise UserError(
            f"{path} is not the file that ships, or only a part of it: it has "
            f"{path.stat().st_size:,} bytes and SHA-256 {digest[:12]}…, and should have "
            f"{expected[:12]}…; install napari-nucleus again."
        )
