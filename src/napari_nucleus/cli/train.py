"""``napari-nucleus train``."""

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_nucleus.cli.app import Json, ManyData, Stopped
from napari_nucleus.cli.console import err, kept, print_json, progress, run_until_stopped, say
from napari_nucleus.errors import UserError
from napari_nucleus.inference.steps import run_to_end
from napari_nucleus.weights.store import read_card

if TYPE_CHECKING:
    from napari_nucleus.training.progress import Step


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=ManyData)(train)


def train(
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR…", help="Datasets to train on.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for weights, log and state.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Architecture; by default that of --init or --config, else histonext_atto.",
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Weights to fine-tune.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="F.toml", help="Recipe: phases, losses, types, …")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="F.png", help="Draw augmented training patches and exit."),
    ] = None,
    json: Json = False,
) -> None:
    """Train a model on annotated images.

    Leaves DIR/best.safetensors, which segment and evaluate take as --model, DIR/last.safetensors,
    DIR/log.csv, DIR/curves.png and what --resume needs. 20 % of the images are held out for
    validation, unless the recipe names them. An existing model is never replaced.

    On several GPUs or machines: torchrun --nproc-per-node 2 -m napari_nucleus train …
    """
    from napari_nucleus.models.checkpoints import load_checkpoint
    from napari_nucleus.training import train_steps
    from napari_nucleus.training.distributed import is_leader
    from napari_nucleus.training.preview import preview as draw_preview
    from napari_nucleus.training.recipe import Recipe, load_recipe

    start = load_checkpoint(init) if init else None
    given: dict[str, Any] = {}
    if start:
        given = {key: getattr(start, key) for key in ("types", "options", "mpp")}
        given["model"] = start.name
    recipe = load_recipe(config, **given) if config else Recipe(**given)
    if model:
        recipe = replace(recipe, model=model)
    if preview:
        draw_preview(recipe, data, preview)
        if json:
            print_json({"preview": preview})
        else:
            say(f"Training patches: {preview}")
        return
    if out is None:
        raise UserError("Give the folder for weights, log and state: --out DIR.")
    steps = train_steps(recipe, data, out, start, resume)
    if not is_leader():
        run_to_end(steps)
        return
    try:
        best, share = _shown(steps)
    except KeyboardInterrupt:
        raise Stopped(kept(out)) from None
    card = read_card(best)
    scores = card["card"]["scores"]
    if json:
        instances = card["instances"]
        print_json({"checkpoint": best, "instances": instances, "network_share": share, **scores})
    else:
        say(f"Network time: {100 * share:.0f} % of the total.")
        say(f"Score {scores['score']:.3f} on the validation images: {best}")


def _shown(steps: "Generator[Step, None, Path]") -> tuple[Path, float]:
    """Run to the end with a progress bar, or until Ctrl+C.

    Returns
    -------
    best : Path
        What the run returns.
    share : float
        The network's share of the time; NaN where there was nothing left to do.
    """
    seconds = network = 0.0

    def show(step: "Step") -> None:
        nonlocal seconds, network
        seconds += step.seconds
        network += step.network_seconds
        losses = " ".join(f"{branch} {loss:.3f}" for branch, loss in step.losses.items())
        update(step.step, step.total, f"epoch {step.epoch} of {step.epochs}, loss {losses}")
        if step.scores:
            score = f"score {step.scores['score']:.3f}"
            note = f"epoch {step.epoch}, step {step.step}: loss {losses}, {score}"
            err.print(note, soft_wrap=True)

    with progress("Training") as update:
        best = run_until_stopped(steps, show)
    return best, network / seconds if seconds else math.nan
