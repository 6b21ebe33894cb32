"""``napari-nucleus segment``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from napari_nucleus.cli.app import Command, Device, Json, Stopped, complain
from napari_nucleus.cli.console import err, print_json, progress, say
from napari_nucleus.cli.images import find_images
from napari_nucleus.errors import UserError
from napari_nucleus.inference.steps import run_to_end
from napari_nucleus.nucleus_types import UNTYPED
from napari_nucleus.slides import check_mpp
from napari_nucleus.weights.store import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel
    from napari_nucleus.results import Result
    from napari_nucleus.results.naming import Destination
    from napari_nucleus.slides import Slide

_READ = "give TIFF, SVS, NDPI, MRXS, DICOM, OME-Zarr or other slides, or a folder of them"

_NAMED = 5
"""Skipped files that a message names."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(segment)


def segment(
    ctx: typer.Context,
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="TIFF, SVS, NDPI, MRXS, DICOM, OME-Zarr, PNG and more (docs/formats.md), folders "
            "of them, or patterns such as 'slides/*.svs'.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the results; by default that of the image, or Documents if nothing "
            "can be written there.",
            show_default=False,
        ),
    ] = None,
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
    scene: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|NUMBER",
            help="Which of several images in a file, from 0; by default the largest.",
        ),
    ] = None,
    srgb: Annotated[
        bool,
        typer.Option(
            "--srgb",
            help="Convert colours to sRGB by the file's ICC profile; models are trained without.",
        ),
    ] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Find, outline, type and measure every nucleus.

    Leaves DIR/NAME.nucleus, the result folder that napari opens, and the table DIR/NAME.csv for
    every image. Only the same segmentation again replaces them; otherwise the new ones are called
    NAME-2, NAME-3 and so on. If an image fails, the others are still segmented, a table at the end
    says which failed and why, and the exit status is 1.
    """
    from napari_nucleus.models.checkpoints import load_checkpoint
    from napari_nucleus.slides import open_slide

    if mpp is not None:
        check_mpp(mpp)
    found = find_images(images)
    if found.skipped:
        _tell_skipped(found.skipped)
    if not found.images and not found.empty:
        raise UserError(f"There is no image to segment: {_READ}.")
    network = load_checkpoint(model)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = [
        {
            "image": folder,
            "error": complain(UserError(f"{folder} does not contain an image: {_READ}.")),
        }
        for folder in found.empty
    ]
    for image in found.images:
        try:
            started = time.perf_counter()
            slide = open_slide(image, mpp, scene, srgb)
            if len(slide.scenes.names) > 1 and scene is None:
                _tell_scenes(slide)
            result, place = _segment_one(slide, out, network, mpp, region, device)
        except KeyboardInterrupt:
            counted = f"{len(done)} of {len(found.images)} images are segmented"
            raise Stopped(f"{counted} and kept, nothing of {image.name} is.") from None
        except Exception as error:  # also an unexpected one costs only this image
            failed.append({"image": image, "error": complain(error, ctx)})
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
    elif failed and len(done) + len(failed) > 1:
        _show_failed(failed)
    if failed:
        raise typer.Exit(1)


def _tell_skipped(skipped: list[Path]) -> None:
    names = ", ".join(path.name for path in skipped[:_NAMED])
    more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    err.print(f"Skipped, hidden or not an image: {names}{more}.", soft_wrap=True)


def _tell_scenes(slide: "Slide") -> None:
    names = slide.scenes.names
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    taken = f"{names[slide.scenes.chosen]} is taken, --scene takes another"
    err.print(f"{slide.name} has {listed}: {taken}.", soft_wrap=True)


def _show_failed(failed: list[dict[str, Any]]) -> None:
    table = Table("failed", "why")
    for entry in failed:
        table.add_row(str(entry["image"]), entry["error"])
    err.print(table)


def _segment_one(
    slide: "Slide",
    out: Path | None,
    network: "NucleusModel",
    mpp: float | None,
    region: tuple[int, int, int, int] | None,
    device: str | None,
) -> tuple["Result", "Destination"]:
    from napari_nucleus.inference import segment_steps
    from napari_nucleus.results.export import write_csv
    from napari_nucleus.results.naming import choose_destination, default_folder

    folder = default_folder(slide) if out is None else out
    place = choose_destination(
        folder, slide, network.sha256, mpp or slide.require_mpp(), {"region": region}
    )
    steps = segment_steps(slide, place.result, network, mpp=mpp, region=region, device=device)
    with progress(slide.name) as update:
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
