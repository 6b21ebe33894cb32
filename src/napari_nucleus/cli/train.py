"""``napari-nucleus train``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nucleus.checkpoints import read_card
from napari_nucleus.cli.app import Json, ManyData
from napari_nucleus.cli.console import err, print_json, progress, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=ManyData)(train)


def train(
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR…", help="Dataset folders to learn from.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for weights, log and state.", show_default=False),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Architecture; by default that of --init or --config, else histonext_atto.",
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Weights to start from.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="F.toml", help="Recipe: steps, rates, types, …")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    json: Json = False,
) -> None:
    """Train a model on dataset folders.

    Leaves DIR/best.safetensors, which segment and evaluate take as --model, DIR/last.safetensors,
    DIR/log.csv and what --resume needs. A fifth of the images is kept for validation, unless the
    recipe says which.
    """
    from napari_nucleus.checkpoints import load_checkpoint
    from napari_nucleus.recipe import Recipe, load_recipe
    from napari_nucleus.training import train_steps

    start = load_checkpoint(init) if init else None
    given: dict[str, Any] = {}
    if start:
        given = {key: getattr(start, key) for key in ("types", "options", "mpp")}
        given["model"] = start.name
    recipe = load_recipe(config, **given) if config else Recipe(**given)
    if model:
        recipe = replace(recipe, model=model)
    steps = train_steps(recipe, data, out, start, resume)
    with progress("Training") as update:
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                best = stop.value
                break
            loss = sum(step.losses.values())
            update(step.step, step.total, f"loss {loss:.3f}")
            if step.scores:
                note = f"step {step.step}: loss {loss:.3f}, score {step.scores['score']:.3f}"
                err.print(note, highlight=False)
    card = read_card(best)
    scores = card["card"]["scores"]
    if json:
        print_json({"checkpoint": best, "instances": card["instances"], **scores})
    else:
        say(f"Score {scores['score']:.3f} on the images kept for validation: {best}")
