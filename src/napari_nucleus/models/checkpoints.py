"""Models to and from checkpoints: safetensors with the model's name, types, resolution and card."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, sha256
from napari_nucleus.weights.store import check_shipped, find_checkpoint, read_card

if TYPE_CHECKING:
    import torch

    from napari_nucleus.models import NucleusModel


def save_checkpoint(path: Path, model: "NucleusModel") -> None:
    """Write a model's weights in half precision, with all that rebuilds it.

    The file appears under its name only when it is whole; until then an earlier one stays.

    Parameters
    ----------
    path : Path
        ``.safetensors`` file.
    model : NucleusModel
        Its name, types, options, µm/px, post-processing parameters and card go into the metadata.

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


def load_checkpoint(model: str | Path) -> "NucleusModel":
    """Rebuild a model from a checkpoint given by name or path.

    Parameters
    ----------
    model : str or Path
        Name of weights that ship or of the user, or a ``.safetensors`` file.

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
    check_shipped(path, digest)
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
    """Put weights into a model.

    Parameters
    ----------
    model : NucleusModel
        Takes the weights.
    state : dict of str to Tensor
        The weights.
    source : str
        Their name in the message.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"{source} does not fit {model.name} with {len(model.types)} types: "
            "it is damaged or belongs to another model."
        ) from error
