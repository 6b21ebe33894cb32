"""``napari-nucleus export``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_nucleus.cli.app import Command, Json
from napari_nucleus.cli.console import print_json, say
from napari_nucleus.errors import UserError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Command)(export)


def export(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A folder NAME.nucleus.", show_default=False)
    ],
    csv: Annotated[
        Path | None, typer.Option(metavar="F.csv", help="The table, for spreadsheets.")
    ] = None,
    geojson: Annotated[
        Path | None, typer.Option(metavar="F.geojson", help="Outlines and types, for QuPath.")
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="F.parquet", help="The table, for statistics.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="F.tif", help="The label image, 0 is background.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="F.png", help="The image with every nucleus outlined.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE", help="The image, if it is neither where it was nor beside the result."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a result for other programs."""
    from napari_nucleus.results import export as formats
    from napari_nucleus.results import open_result
    from napari_nucleus.results.outputs import check_outputs

    writers: dict[str, tuple[Path | None, Callable[[Any, Path], None]]] = {
        "csv": (csv, formats.write_csv),
        "geojson": (geojson, formats.write_geojson),
        "parquet": (parquet, formats.write_parquet),
        "labels": (labels, formats.write_labels),
        "overlay": (overlay, partial(formats.write_overlay, image=image)),
    }
    wanted = {name: (path, write) for name, (path, write) in writers.items() if path}
    if not wanted:
        raise UserError(f"Say what to write: {', '.join(f'--{name} FILE' for name in writers)}.")
    opened = open_result(result)
    check_outputs(opened, [path for path, _ in wanted.values()], image)
    for path, write in wanted.values():
        write(opened, path)
        if not json:
            say(str(path))
    if json:
        print_json(
            {"result": result, "written": {name: path for name, (path, _) in wanted.items()}}
        )
