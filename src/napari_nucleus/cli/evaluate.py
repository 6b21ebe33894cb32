"""``napari-nucleus evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_nucleus.checkpoints import DEFAULT_MODEL
from napari_nucleus.cli.app import Json, ManyData
from napari_nucleus.cli.console import out, print_json, progress

_NAMES = {
    "dice": "Dice",
    "dice2": "ensemble Dice",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "dq": "DQ",
    "sq": "SQ",
    "pq": "PQ",
    "f1d": "F1 of detection",
    "accuracy": "accuracy of types",
    "bpq": "bPQ",
    "mpq": "mPQ",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=ManyData)(evaluate)


def evaluate(
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help=f"Weights to score; by default {DEFAULT_MODEL}."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR…", help="Dataset folders to score the weights on."),
    ] = None,
    pred: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Or: predicted label images NAME.tif or NAME.nucleus."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="And the annotated ones, of the same names.")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(metavar="µM", help="µm per pixel of the images; 0.25 if left out."),
    ] = None,
    json: Json = False,
) -> None:
    """Score weights on annotated images, or predictions against annotations.

    A dataset folder holds images/NAME.png (or .jpg, .tif), labels/NAME.tif (0 is background, every
    nucleus its own number) and, where types are known, labels/NAME.csv with columns label,type.
    """
    from napari_nucleus.evaluation import evaluate_steps

    steps = evaluate_steps(model, data or (), pred, truth, mpp)
    with progress("Scoring") as update:
        while True:
            try:
                done, total = next(steps)
            except StopIteration as stop:
                scores = stop.value
                break
            update(done, total, f"{done} of {total} images")
    if json:
        print_json(scores)
    else:
        out.print(_table(scores))


def _table(scores: dict[str, Any]) -> Table:
    table = Table("score", "mean", "95 % interval", title=f"{scores['images']} images")
    for key, name in _NAMES.items():
        if key in scores:
            low, high = scores["ci95"].get(key, (None, None))
            interval = "" if low is None else f"{low:.3f} to {high:.3f}"
            table.add_row(name, f"{scores[key]:.3f}", interval)
    for name, value in scores.get("f1", {}).items():
        table.add_row(f"F1 of {name}", f"{value:.3f}", "")
    return table
