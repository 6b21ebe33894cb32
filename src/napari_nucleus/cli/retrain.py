"""``napari-nucleus retrain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_nucleus.cli.app import Device, Json, ManyData, Stopped
from napari_nucleus.cli.console import err, kept, print_json, progress, run_until_stopped, say
from napari_nucleus.errors import UserError
from napari_nucleus.retraining import EPOCHS, Retraining, parse_types, read_job
from napari_nucleus.retraining.verdict import verdict
from napari_nucleus.training.recipe import checked
from napari_nucleus.weights.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained, Update


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=ManyData)(retrain)


def retrain(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for the new model and log.", show_default=False),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RESULT…",
            help="Results with reviewed regions, dataset folders, QuPath GeoJSON files.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help=f"Weights to fine-tune; by default {DEFAULT_MODEL}."
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help='Types of the new model; by default those of the old one. "" trains segmentation '
            "only.",
        ),
    ] = None,
    train: Annotated[
        Literal["decoder", "types", "all"] | None,
        typer.Option(
            help="What to train: all but the encoder (the default), the type branch only, or "
            "everything."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help=f"Epochs; by default {EPOCHS}.")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(metavar="F", help="Peak learning rate; by default chosen by --train."),
    ] = None,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out.")
    ] = False,
    json: Json = False,
) -> None:
    """Fine-tune a model on reviewed results and annotated images.

    Leaves DIR/best.safetensors, which segment and evaluate take as --model, DIR/log.csv and
    DIR/curves.png. 20 % of the regions are held out for validation. An existing model is never
    replaced.

    The training data are kept in DIR until the run is complete, so --resume needs --out only.
    """
    options: dict[str, Any] = {
        "model": model,
        "types": None if types is None else parse_types(types),
        "train": train,
        "epochs": epochs,
        "lr": lr,
        "device": device,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if not resume:
        job = checked(Retraining, {"data": tuple(data or ()), **given}, "retrain")
    elif data or given:
        raise UserError("--resume uses the data and options of that run: give only --out.")
    elif (found := read_job(out)) is None:
        raise UserError(f"{out} does not contain an interrupted run: leave out --resume.")
    else:
        job = found
    try:
        made = _shown(job, out, resume)
    except KeyboardInterrupt:
        raise Stopped(kept(out)) from None
    if json:
        print_json(vars(made))
        return
    say(f"Training finished. {verdict(made.before, made.after, job.train)}")
    say(f"New model: {made.checkpoint}")


def _shown(job: Retraining, out: Path, resume: bool) -> "Retrained":
    """Run to the end with a progress bar, or until Ctrl+C."""
    from napari_nucleus.retraining.loop import retrain_steps

    def show(found: "Update") -> None:
        step = found.step
        if step:
            update(step.step, step.total, f"epoch {step.epoch} of {step.epochs}")
        if found.scores:
            when = f"epoch {step.epoch}" if step else "before training"
            note = f"{when}: PQ {found.scores['pq']:.3f} on the validation regions"
            err.print(note, soft_wrap=True)

    with progress("Training") as update:
        return run_until_stopped(retrain_steps(job, out, resume), show)
