"""The application that the commands hang on, and what they share."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from napari_nucleus.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="cpu, cuda, cuda:1, mps, …; by default the GPU if there is one."
    ),
]


class Commands(TyperGroup):
    """Command group that reports a `UserError` in one line, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            complain(error)
            raise typer.Exit(1) from error


class ManyData(TyperCommand):
    """A command whose ``--data`` takes several values at once: ``--data A B C``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_repeated(args, "--data")))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def about() -> None:
    """Segment nuclei in H&E images, measure and type them, score and train models.

    Every command takes --help, and --json for one JSON object on standard output. When something
    goes wrong, one line on standard error says what to do, and the exit status is not 0.
    """


def complain(error: UserError) -> None:
    """Print an error on standard error, in one line.

    Parameters
    ----------
    error : UserError
        What is wrong, and what to do.
    """
    print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)


def _repeated(args: list[str], option: str) -> Iterator[str]:
    """Put the option before every value that follows it."""
    again = False
    for i, arg in enumerate(args):
        if arg.startswith("-"):
            again = arg == option
        elif again and args[i - 1] != option:
            yield option
        yield arg
