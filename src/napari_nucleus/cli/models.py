"""``napari-nucleus models``."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_nucleus.cli.app import Command, Json, complain
from napari_nucleus.cli.console import out, print_json, say
from napari_nucleus.errors import UserError
from napari_nucleus.weights.sam import SAM_WEIGHTS, missing_sam
from napari_nucleus.weights.store import find_checkpoint, list_checkpoints, read_card, trained_dir

_TYPES = 5
"""Types of the datasets that the published figures are for."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|FILE]", help="One of them, for the details.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List architectures and weights, or show the details of one."""
    found = _listed() if name is None else _described(name)
    if json:
        print_json(found)
    elif name is None:
        _show_list(found)
    else:
        _show(found)


def _listed() -> dict[str, Any]:
    from napari_nucleus.models import list_models

    weights = []
    for name, file in list_checkpoints().items():
        try:
            weights.append(_weights(name, file))
        except UserError as error:  # the others are still to be had
            complain(error)
    return {
        "architectures": list_models(),
        "weights": weights,
        "folder": trained_dir(),
        "classes": list(_taught()),
    }


def _taught() -> Iterator[dict[str, Any]]:
    """Yield what `napari-nucleus teach` has left in the user's folder."""
    from napari_nucleus.teaching.classifier_file import list_classes, read_classes_card

    for name, file in list_classes().items():
        try:
            card = read_classes_card(file)
        except UserError as error:
            complain(error)
            continue
        shown = {key: card[key] for key in ("classes", "examples", "f1", "network")}
        yield {"name": name, **shown, "file": file}


def _weights(name: str, file: Path) -> dict[str, Any]:
    about = read_card(file)
    card = about["card"]
    return {
        "name": name,
        "architecture": about["name"],
        "types": about["types"],
        "mpp": about["mpp"],
        "licence": card.get("licence"),
        "scores": card.get("scores"),
        "file": file,
        **_sam(about["options"]),
    }


def _sam(options: dict[str, Any]) -> dict[str, Any]:
    """Return the SAM that a model requires, if any, and how to get its weights if missing."""
    about = options.get("sam")
    return {"sam": {**about, "missing": missing_sam(**about)}} if about else {}


def _described(name: str) -> dict[str, Any]:
    import torch

    from napari_nucleus.models import create_model, list_models
    from napari_nucleus.models.complexity import complexity

    if name in list_models():
        types = [f"type {i + 1}" for i in range(_TYPES)]
        weights = [w["name"] for w in _listed()["weights"] if w["architecture"] == name]
        cost = complexity(name, types)
        with torch.device("meta"):
            options = create_model(name, types, pretrained=False).options
        about = {"name": name, "architecture": name, **vars(cost), "weights": weights}
        return {**about, **_sam(options)}
    known = list_checkpoints()
    if name not in known and not Path(name).suffix:
        near = get_close_matches(name, [*list_models(), *known], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "napari-nucleus models lists them."
        raise UserError(f"There are no architecture and no weights named {name!r}: {hint}")
    file = find_checkpoint(name)
    about = read_card(file)
    cost = complexity(about["name"], about["types"], **about["options"])
    about_instances = {"instances": about["instances"], "card": about["card"]}
    return {**_weights(file.stem, file), **vars(cost), **about_instances}


def _show_list(found: dict[str, Any]) -> None:
    table = Table("weights", "architecture", "µm/px", "types")
    for entry in found["weights"]:
        table.add_row(
            entry["name"],
            entry["architecture"],
            f"{entry['mpp']:g}",
            ", ".join(entry["types"]) or "none",
        )
    if found["weights"]:
        out.print(table)
        say("Add a name for licence, data, scores and cost.")
    for entry in found["weights"]:
        if lacks := entry.get("sam", {}).get("missing"):
            say(f"{entry['name']}: {lacks}")
    for entry in found["classes"]:
        network = entry["network"]["name"]
        say(f"Taught classes {entry['name']}: {', '.join(entry['classes'])} (on {network})")
    say(f"Architectures: {', '.join(found['architectures'])}")
    say(f"Your own weights are found by name in {found['folder']}")


def _show(found: dict[str, Any]) -> None:
    rows = {
        "architecture": found["architecture"],
        "parameters": f"{found['parameters'] / 1e6:.1f} million",
        "GMAC": f"{found['gmac']:.1f} per 270 px patch as its paper computes it, "
        f"{found['gmac_whole']:.1f} for every pixel of it",
    }
    if sam := found.get("sam"):
        rows["requires"] = f"{SAM_WEIGHTS[sam['kind']].title}, SHA-256 {sam['sha256'][:12]}…"
        if sam["missing"]:
            rows["missing"] = sam["missing"]
    if "file" in found:
        rows["types"] = ", ".join(found["types"]) or "none"
        rows["µm/px"] = f"{found['mpp']:g}"
        rows |= {
            key: _in_words(found["card"][key])
            for key in ("licence", "credit", "data", "command", "version")
            if key in found["card"]
        }
        for name, scores in (found["scores"] or {}).get("datasets", {}).items():
            rows[f"on {name}"] = ", ".join(
                f"{k.upper()} {scores[k]:.3f}" for k in ("dice", "aji", "pq")
            )
        rows["file"] = str(found["file"])
    else:
        rows["types"] = f"those of the data it is trained on; counted with {_TYPES}"
        rows["weights"] = ", ".join(found["weights"]) or "none yet"
    say(found["name"])
    width = max(map(len, rows))
    for key, value in rows.items():
        say(f"  {key:<{width}}  {value}")


def _in_words(value: Any) -> str:
    """Return a part of a card as a user reads it; the data of a training run are counts."""
    if not isinstance(value, dict):
        return str(value)
    parts = ((name, *counts.values()) for name, counts in value.items())
    return ", ".join(
        f"{name} ({training} images, {validation} for validation)"
        for name, training, validation in parts
    )
