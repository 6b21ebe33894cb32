"""``napari-nucleus segment``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_nucleus.cli.app import Command, Device, Json, Stopped
from napari_nucleus.cli.console import err, print_json, run_until_stopped
from napari_nucleus.cli.images import find_images
from napari_nucleus.cli.segment_report import SegmentReport, tell_scenes, tell_skipped
from napari_nucleus.errors import UserError
from napari_nucleus.slides import check_mpp
from napari_nucleus.weights.store import DEFAULT_MODEL

_READ = "give TIFF, SVS, NDPI, MRXS, DICOM, OME-Zarr or other slides, or a folder of them"


class _Tissue(StrEnum):
    """Where to look."""

    auto = "auto"
    all = "all"


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
    tissue: Annotated[
        _Tissue, typer.Option(help="auto leaves glass out, all takes it as well.")
    ] = _Tissue.auto,
    device: Device = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS|local:N",
            help="Compute on the workers of a dask scheduler, such as tcp://host:8786, which find "
            "the images under the same paths; local:N starts N workers here.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Refuse an image that was begun with another model, µm/px, option or version; "
            "otherwise it is begun anew beside that.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Find, outline, type and measure every nucleus.

    Leaves DIR/NAME.nucleus, the result folder that napari opens, and the table DIR/NAME.csv for
    every image; another image of that name, another model, region and so on makes NAME-2, NAME-3.
    Images that are segmented already are left as they are. What was stopped goes on when the same
    command is given again. If an image fails, the others are still segmented, a table at the end
    says which failed and why, and the exit status is 1.
    """
    from napari_nucleus.inference.batch import segment_many

    if mpp is not None:
        check_mpp(mpp)
    found = find_images(images)
    if found.skipped:
        tell_skipped(found.skipped)
    if not found.images and not found.empty:
        raise UserError(f"There is no image to segment: {_READ}.")
    report = SegmentReport(ctx, len(found.images), quiet=json)
    for folder in found.empty:
        report.fail(folder, UserError(f"{folder} does not contain an image: {_READ}."))
    steps = segment_many(
        found.images,
        out,
        model,
        mpp=mpp,
        scene=scene,
        srgb=srgb,
        region=region,
        tissue="all" if tissue is _Tissue.all else None,
        device=device,
        scheduler=scheduler,
        resume=resume,
        on_open=(lambda slide: None) if scene else tell_scenes,
    )
    try:
        with report:
            run_until_stopped(steps, report)
    except KeyboardInterrupt:
        raise Stopped(report.kept()) from None
    if json:
        print_json({"results": report.done, "errors": report.failed})
    elif report.failed and len(report.done) + len(report.failed) > 1:
        err.print(report.table())
    if report.failed:
        raise typer.Exit(1)
