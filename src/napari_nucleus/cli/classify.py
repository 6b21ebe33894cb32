"""``napari-nucleus classify``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nucleus.cli.app import Command, Device, Json, complain
from napari_nucleus.cli.console import print_json, progress, say
from napari_nucleus.inference.steps import run_to_end


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(classify)


def classify(
    ctx: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT…", help="Folders NAME.nucleus.", show_default=False),
    ],
    classes: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NAME|FILE",
            help="Classes that napari-nucleus teach has written.",
            show_default=False,
        ),
    ],
    device: Device = None,
    json: Json = False,
) -> None:
    """Give nuclei the classes that were taught.

    Classes that were set by hand stay. The new ones are a correction like any other: napari undoes
    it (Ctrl+Z). If a result fails, the others are still classified, and the exit status is 1.
    """
    from napari_nucleus.teaching.classifier_file import load_classes
    from napari_nucleus.teaching.pipeline import classify_steps

    classifier = load_classes(classes)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for result in results:
        try:
            with progress(result.name) as update:
                counts = run_to_end(
                    classify_steps(result, classifier, device=device),
                    lambda tiles: update(*tiles, f"{tiles[0]} of {tiles[1]} tiles"),
                )
        except Exception as error:  # also an unexpected one costs only this result
            failed.append({"result": result, "error": complain(error, ctx)})
            continue
        done.append({"result": result, "counts": counts})
        if not json:
            types = (f"{count:,} {name}" for name, count in counts.items() if name != "nuclei")
            say(f"{result}: {counts['nuclei']:,} nuclei ({', '.join(types)})")
    if json:
        print_json({"results": done, "errors": failed})
    if failed:
        raise typer.Exit(1)
