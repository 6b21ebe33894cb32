"""``napari-nucleus teach``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_nucleus.cli.app import Command, Device, Json
from napari_nucleus.cli.console import print_json, progress, say
from napari_nucleus.inference.steps import run_to_end

if TYPE_CHECKING:
    from napari_nucleus.teaching.classifier import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(teach)


def teach(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT…", help="Folders NAME.nucleus.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="F.safetensors", help="File for the taught classes.", show_default=False
        ),
    ],
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="F.csv",
            help="Table with the columns label and type, and result if there are several, in "
            "addition to the classes that were set in napari.",
        ),
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Teach classes by examples: nuclei whose class was set by hand.

    Takes seconds, and 10 to 25 nuclei of each class. The file is for napari-nucleus classify.
    """
    from napari_nucleus.teaching.classifier_file import save_classes
    from napari_nucleus.teaching.pipeline import teach_steps

    with progress("Features") as update:
        classifier = run_to_end(
            teach_steps(results, examples, device),
            lambda tiles: update(*tiles, f"{tiles[0]} of {tiles[1]} tiles"),
        )
    save_classes(out, classifier)
    report = classifier.report()
    if json:
        print_json(_as_json(out, report))
    else:
        _show(out, report)


def _as_json(out: Path, report: "Report") -> dict[str, object]:
    return {
        "file": out,
        "classes": report.table().round(4).to_dict(orient="index"),
        "f1": report.mean,
        "ci95": [report.mean_low, report.mean_high],
        "confusion": report.confusion.tolist(),
    }


def _show(out: Path, report: "Report") -> None:
    for name, row in report.table().iterrows():
        interval = f"F1 {row['f1']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        say(f"{name}: {row['examples']:.0f} examples, {interval}")
    say(
        f"Mean F1 {report.mean:.2f} ({report.mean_low:.2f} to {report.mean_high:.2f}), by "
        "cross-validation on the examples, for as many nuclei of each class."
    )
    say(str(out))
