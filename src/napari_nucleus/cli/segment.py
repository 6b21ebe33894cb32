"""``napari-nucleus segment``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_nucleus.cli.app import Command, Device, Json, complain
from napari_nucleus.cli.console import print_json, progress, say
from napari_nucleus.errors import UserError
from napari_nucleus.inference.steps import run_to_end
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.weights.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel
    from napari_nucleus.results import Result
    from napari_nucleus.results.naming import Destination


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(segment)


def segment(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE", help="PNG, JPEG, TIFF, OME-TIFF, SVS or NDPI.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Weights; see napari-nucleus models.")
    ] = DEFAULT_MODEL,
    region: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(metavar="X Y W H", help="Only this part, in pixels of the full image."),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(metavar="µM", help="µm per pixel, if the file has none or a wrong one."),
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Find, outline, type and measure every nucleus.

    Leaves DIR/NAME.nucleus, the result folder that napari opens, and the table DIR/NAME.csv for
    every image. Only the same segmentation again replaces them; otherwise the new ones are called
    NAME-2, NAME-3 and so on. If an image fails, the others are still segmented, and the exit status
    is 1.
    """
    from napari_nucleus.models.checkpoints import load_checkpoint

    network = load_checkpoint(model)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for image in images:
        try:
            started = time.perf_counter()
            result, place = _segment_one(image, out, network, mpp, region, device)
        except UserError as error:
            complain(error)
            failed.append({"image": image, "error": str(error)})
            continue
        seconds = round(time.perf_counter() - started, 1)
        counts = result.run["counts"]
        done.append(
            {
                "image": image,
                "result": result.path,
                "csv": place.csv,
                "reason": place.reason,
                "counts": counts,
                "seconds": seconds,
            }
        )
        if not json:
            why = f" ({place.reason})" if place.reason else ""
            say(f"{image.name}: {_counted(counts)} in {seconds} s. {result.path}, {place.csv}{why}")
    if json:
        print_json({"results": done, "errors": failed})
    if failed:
        raise typer.Exit(1)


def _segment_one(
    image: Path,
    out: Path,
    network: "NucleusModel",
    mpp: float | None,
    region: tuple[int, int, int, int] | None,
    device: str | None,
) -> tuple["Result", "Destination"]:
    from napari_nucleus.inference import segment_steps
    from napari_nucleus.results.export import write_csv
    from napari_nucleus.results.naming import choose_destination
    from napari_nucleus.slides import open_slide

    slide = open_slide(image, mpp)
    place = choose_destination(
        out, slide, network.sha256, mpp or slide.require_mpp(), {"region": region}
    )
    steps = segment_steps(slide, place.result, network, mpp=mpp, region=region, device=device)
    with progress(image.name) as update:
        result = run_to_end(
            steps, lambda step: update(step.done, step.total, f"{step.nuclei:,} nuclei")
        )
    write_csv(result, place.csv)
    return result, place


def _counted(counts: dict[str, int]) -> str:
    """Return the counts in words."""
    types = {name: count for name, count in counts.items() if name not in ("nuclei", UNTYPED)}
    if not counts["nuclei"]:
        return "no nuclei found"
    listed = ", ".join(f"{count:,} {name}" for name, count in types.items())
    return f"{counts['nuclei']:,} nuclei ({listed})" if listed else f"{counts['nuclei']:,} nuclei"
