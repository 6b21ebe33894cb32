"""Weights on disk: safetensors that carry the model's name, types, resolution and card.

What can be had by name is told without loading torch.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, sha256, trained_dir

if TYPE_CHECKING:
    import torch

    from napari_nucleus.models import NucleusModel

DEFAULT_MODEL = "histonext_atto_he"
"""Name of the weights that ship, used where none is named."""

_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


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


def save_checkpoint(path: Path, model: "NucleusModel") -> None:
    """Write a model's weights in half precision, with all that rebuilds it.

    The file appears under its name only when it is whole; until then an earlier one stays.

    Parameters
    ----------
    path
        ``.safetensors`` file.
    model
        Its name, types, options, µm/px, post-processing constants and card go into the metadata.

    Raises
    ------
    UserError
        If the disk is full or the place cannot be written to.
    """
    from safetensors.torch import save

    metadata = {
        "name": model.name,
        "types": model.types,
        "options": model.options,
        "mpp": model.mpp,
        "instances": model.instances,
        "card": model.card,
    }
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    with replacing(path) as part:
        part.write_bytes(save(tensors, {key: json.dumps(v) for key, v in metadata.items()}))


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


def load_checkpoint(model: str | Path) -> "NucleusModel":
    """Rebuild a model from a checkpoint given by name or path.

    Returns
    -------
    NucleusModel
        In evaluation mode, float32, on the CPU.

    Raises
    ------
    UserError
        If there is no such checkpoint, or it is damaged, pickled, or of another architecture; if it
        should come with the package, but is another file or a part of it.
    """
    from napari_nucleus.models import create_model
    from napari_nucleus.models.registry import NoSuchModel

    path = find_checkpoint(model)
    digest = sha256(path)
    _check_shipped(path, digest)
    about = read_card(path)
    try:
        network = create_model(about["name"], about["types"], pretrained=False, **about["options"])
    except NoSuchModel as error:
        raise UserError(
            f"{path.name} holds a {about['name']} of another version: update napari-nucleus."
        ) from error
    with safe_open(path, framework="pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    load_weights(network, state, path.name)
    network.mpp = about["mpp"]
    network.instances = about["instances"]
    network.card = about["card"]
    network.sha256 = digest
    return network.eval()


def load_weights(model: "NucleusModel", state: dict[str, "torch.Tensor"], source: str) -> None:
    """Put weights into a model, or say in one line why they do not fit."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{source} does not fit {model.name} with {len(model.types)} types: "
            "it is damaged or belongs to another model."
        ) from error


def _check_shipped(path: Path, digest: str) -> None:
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
