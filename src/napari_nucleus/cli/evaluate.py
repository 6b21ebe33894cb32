"""``napari-nucleus evaluate``."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_nucleus.cli.app import Json, ManyData
from napari_nucleus.cli.console import out, print_json, progress, say
from napari_nucleus.evaluation.figure import SCORES, write_figure
from napari_nucleus.inference.steps import run_to_end
from napari_nucleus.slides import check_mpp
from napari_nucleus.weights.store import DEFAULT_MODEL

_NAMES = {
    "dice": "Dice",
    "dice2": "ensemble Dice",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "dq": "DQ",
    "sq": "SQ",
    "pq": "PQ",
    "miou": "mIoU",
    "weighted_f1": "weighted F1 of pixels",
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
        typer.Option(metavar="DIR…", help="Datasets to score the weights on."),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Part of a dataset's official split, such as test; may be repeated. By default "
            "the parts for training.",
        ),
    ] = None,
    pred: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of --data: predicted label images NAME.tif or NAME.nucleus.",
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Annotated label images of the same names.")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            metavar="µM",
            help="µm per pixel of the images; by default what the dataset says, else 0.25.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="F.png", help="Draw the scores: png, pdf or svg."),
    ] = None,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Also list every image, as --json always does.")
    ] = False,
    json: Json = False,
) -> None:
    """Score weights on annotated images, or predictions against annotations.

    Datasets are read as published. A folder of your own holds images/NAME.png
    (or .jpg, .tif), labels/NAME.tif (0 is background, every nucleus its own number) and, where
    types are known, labels/NAME.csv with columns label,type.

    Intervals are 95 % bootstrap intervals over images. Scores that are undefined for an image,
    because it has no annotated or no predicted nuclei, are excluded from the means.
    """
    from napari_nucleus.evaluation import evaluate_steps

    if mpp is not None:
        check_mpp(mpp)
    steps = evaluate_steps(model, data or (), pred, truth, mpp, parts=part or ())
    with progress("Scoring") as update:
        scores = run_to_end(steps, lambda done: update(*done, f"{done[0]} of {done[1]} images"))
    if figure:
        write_figure(figure, scores, pred.name if pred else Path(model or DEFAULT_MODEL).stem)
    if json:
        print_json(scores)
        return
    out.print(_scores(scores))
    if "per_class" in scores:
        out.print(_classes(scores["per_class"]))
    if per_image:
        out.print(_images(scores["per_image"]))
    if note := _undefined(scores["per_image"]):
        say(note)


def _scores(found: dict[str, Any]) -> Table:
    """Return a table with a row for every score, and a column for every dataset if there are more.

    Numbers in brackets are the ends of the interval.
    """
    sets = {f"{found['images']} image{'s' * (found['images'] != 1)}": found}
    if len(found["per_dataset"]) > 1:
        sets |= {
            f"{name} ({scores['images']})": scores for name, scores in found["per_dataset"].items()
        }
    table = Table("score", *sets)
    for key, name in _NAMES.items():
        if key in found:
            cells = (
                _with_interval(scores, key) if key in scores else "" for scores in sets.values()
            )
            table.add_row(name, *cells)
    return table


def _classes(classes: dict[str, Any]) -> Table:
    table = Table("type", "annotated", "predicted", "F1", "PQ")
    for name, scores in classes.items():
        counts = str(scores["annotated"]), str(scores["predicted"])
        table.add_row(name, *counts, _with_interval(scores, "f1"), _with_interval(scores, "pq"))
    return table


def _images(rows: list[dict[str, Any]]) -> Table:
    keys = [key for key in SCORES if key in rows[0]]
    table = Table("dataset", "image", *(SCORES[key] for key in keys))
    for row in rows:
        table.add_row(row["dataset"], row["name"], *(_number(row[key]) for key in keys))
    return table


def _undefined(rows: list[dict[str, Any]]) -> str:
    """Return which scores are undefined, and for how many images."""
    keys = ("dice", "aji", "pq")
    counts = {_NAMES[key]: sum(math.isnan(row[key]) for row in rows) for key in keys}
    parts = [
        f"{name} of {count} image{'s' * (count > 1)}" for name, count in counts.items() if count
    ]
    if not parts:
        return ""
    return (
        "Some images have no annotated or no predicted nuclei. Undefined, and excluded from the "
        f"means: {', '.join(parts)}."
    )


def _with_interval(scores: dict[str, Any], key: str) -> str:
    low, high = scores["ci95"][key]
    if not low < high:  # of one image, or of none that has the score
        return _number(scores[key])
    return f"{_number(scores[key])} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
