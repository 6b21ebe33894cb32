"""The application that the commands hang on, and how every command ends."""

import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from napari_nucleus.cli.console import replace_unprintable
from napari_nucleus.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="cpu, cuda, cuda:1, mps, …; by default the GPU if there is one."
    ),
]

_WHOLE = "files are written whole or not at all."


class Stopped(Exception):
    """Ctrl+C was pressed; the message says what was kept."""


class Commands(TyperGroup):
    """Command group whose output no console refuses."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        replace_unprintable()
        return super().main(*args, **kwargs)


class Command(TyperCommand):
    """Command that ends in one line on standard error, whatever goes wrong."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (KeyboardInterrupt, Stopped) as error:
            print(f"Stopped: {str(error) or _WHOLE}", file=sys.stderr)
            raise typer.Exit(130) from error
        except Exception as error:
            complain(error, ctx)
            raise typer.Exit(1) from error


class ManyData(Command):
    """A command whose ``--data`` takes several values at once: ``--data A B C``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_repeated(args, "--data")))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"napari-nucleus {version('napari-nucleus')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Segment nuclei in H&E images, measure and type them, score and train models.

    Every command takes --help, and --json for one JSON object on standard output. When something
    goes wrong, one line on standard error says what to do, and the exit status is not 0.
    """


def complain(error: Exception, ctx: typer.Context | None = None) -> str:
    """Print an error on standard error, in one line.

    Parameters
    ----------
    error : Exception
        A `UserError`, or an unexpected one, whose traceback is kept in a file.
    ctx : typer.Context or None
        Of the command, whose option is named if it solves the problem.

    Returns
    -------
    str
        The line.
    """
    line = " ".join(str(error).split())
    if not isinstance(error, UserError):
        line = f"Unexpected {type(error).__name__}: {line or 'no message'}. {_kept(error)}"
    elif ctx and any(f"--{error.setting}" in parameter.opts for parameter in ctx.command.params):
        line = f"{line.removesuffix('.')} (--{error.setting})."
    print(f"Error: {line}", file=sys.stderr)
    return line


def _kept(error: Exception) -> str:
    """Keep the traceback of an error in a file, and return where."""
    try:
        with NamedTemporaryFile(
            "w", prefix="napari-nucleus-", suffix=".log", delete=False, errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return "There is no room for its traceback."
    return f"Full traceback: {file.name}"


def _repeated(args: list[str], option: str) -> Iterator[str]:
    """Put the option before every value that follows it."""
    again = False
    for i, arg in enumerate(args):
        if arg.startswith("-"):
            again = arg == option
        elif again and args[i - 1] != option:
            yield option
        yield arg
