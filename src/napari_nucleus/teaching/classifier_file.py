"""Taught classes to and from a file: safetensors with a card of JSON, nothing pickled."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs
from safetensors import SafetensorError, safe_open

from napari_nucleus.errors import UserError
from napari_nucleus.files import replacing, visible_files
from napari_nucleus.results.features import FORMAT as FEATURES
from napari_nucleus.teaching import slide_nuclei
from napari_nucleus.teaching.classifier import Moments, NucleusClassifier
from napari_nucleus.teaching.examples import Examples

KIND = "napari-nucleus classes"

_DESCRIPTION = {
    "features": FEATURES,
    "columns": list(slide_nuclei.COLUMNS),
    "neighbours": slide_nuclei.NEIGHBOURS,
    "reach_um": slide_nuclei.REACH,
    "steps": slide_nuclei.STEPS,
}
"""What describes a nucleus; a file of a version with another description is of no use."""


def classes_dir() -> Path:
    """Return the folder in which taught classes are found by name."""
    return platformdirs.user_data_path("napari-nucleus") / "classes"


def list_classes() -> dict[str, Path]:
    """Return the files of taught classes in `classes_dir`, by name."""
    return {file.stem: file for file in visible_files(classes_dir(), "*.safetensors")}


def find_classes(name: str | Path) -> Path:
    """Return the file of taught classes given by name or path.

    Parameters
    ----------
    name : str or Path
        A name of `list_classes`, or a ``.safetensors`` file.

    Raises
    ------
    UserError
        If there is no such file.
    """
    known = list_classes()
    path = known.get(str(name), Path(name))
    if not path.is_file():
        raise UserError(
            f"There are no classes {str(name)!r}: give a file that napari-nucleus teach wrote"
            f"{' or one of ' * bool(known)}{', '.join(known)}."
        )
    return path


def save_classes(path: Path, classifier: NucleusClassifier) -> None:
    """Write taught classes; the file appears under its name when it is whole.

    Parameters
    ----------
    path : Path
        ``.safetensors`` file.
    classifier : NucleusClassifier
        What was taught.

    Raises
    ------
    UserError
        If the name ends otherwise, or the file cannot be written.
    """
    from safetensors.numpy import save

    if path.suffix != ".safetensors":
        raise UserError(f"{path.name} must end in .safetensors: give another name.", "out")
    examples, moments = classifier.examples, classifier.moments
    order = list(classifier.classes)
    tensors = {
        "described": examples.described.astype(np.float16),
        "class": np.array([order.index(name) for name in examples.classes], np.int32),
        "block": pd.factorize(examples.block)[0].astype(np.int32),
        "means": moments.means,
        "spreads": moments.spreads,
        "weights": classifier.weights,
        "bias": classifier.bias,
        "held_out": classifier.held_out,
    }
    report = classifier.report()
    card = {
        "kind": KIND,
        "version": version("napari-nucleus"),
        "description": _DESCRIPTION,
        "network": classifier.network,
        "classes": classifier.classes,
        "temperature": classifier.temperature,
        "examples": examples.counts(),
        "f1": {
            name: [round(float(value), 3) for value in values]
            for name, *values in report.table()[["f1", "low", "high"]].itertuples()
        },
    }
    metadata = {key: json.dumps(value) for key, value in card.items()}
    data = save({key: np.ascontiguousarray(value) for key, value in tensors.items()}, metadata)
    with replacing(path) as part:
        part.write_bytes(data)


def read_classes_card(path: Path) -> dict[str, Any]:
    """Return what a file says of itself.

    Parameters
    ----------
    path : Path
        ``.safetensors`` file.

    Returns
    -------
    dict
        ``version``, ``network``, ``classes`` (name to colour), ``examples`` (number by class),
        ``f1`` (by class, with the bounds of its 95 % interval), and more.

    Raises
    ------
    UserError
        If it is damaged, holds no taught classes, or is of a version that describes nuclei
        otherwise.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        card = {key: json.loads(value) for key, value in metadata.items()}
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error}).") from error
    if card.get("kind") != KIND:
        raise UserError(
            f"{path.name} holds no taught classes: give a file that napari-nucleus teach wrote."
        )
    if card["description"] != _DESCRIPTION:
        raise UserError(
            f"{path.name} was taught with napari-nucleus {card['version']}, which described nuclei "
            "otherwise: teach the classes again."
        )
    return card


def load_classes(name: str | Path) -> NucleusClassifier:
    """Read taught classes.

    Parameters
    ----------
    name : str or Path
        As `find_classes` takes it.

    Raises
    ------
    UserError
        As `find_classes` and `read_classes_card`.
    """
    path = find_classes(name)
    card = read_classes_card(path)
    try:
        with safe_open(path, framework="np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        names = np.array(list(card["classes"]), object)
        return NucleusClassifier(
            card["network"],
            card["classes"],
            Examples(
                tensors["described"].astype(np.float32),
                names[tensors["class"]],
                np.array([f"{path} {block}" for block in tensors["block"]], object),
            ),
            Moments(tensors["means"], tensors["spreads"]),
            tensors["weights"],
            tensors["bias"],
            float(card["temperature"]),
            tensors["held_out"],
        )
    except (SafetensorError, KeyError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}): copy it again.") from error
