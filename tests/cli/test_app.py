"""How commands end."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import napari_nucleus
from napari_nucleus.cli import app
from napari_nucleus.cli.app import Command, Stopped
from napari_nucleus.errors import UserError


@pytest.fixture
def raising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """A command with an option --mpp that raises the last error of a list."""
    errors: list[BaseException] = []

    @app.command("raise", cls=Command, hidden=True)
    def fail(mpp: float = 1) -> None:
        raise errors[-1]

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield errors
    app.registered_commands.pop()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"napari-nucleus {version('napari-nucleus')}\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("Set it:\nabout 0.25."), "Set it: about 0.25."),
        (UserError("Set it: about 0.25.", setting="mpp"), "Set it: about 0.25 (--mpp)."),
        (UserError("Set it", setting="mpp"), "Set it (--mpp)."),
        (UserError("Choose another.", setting="device"), "Choose another."),
    ],
)
def test_error_names_the_option_that_solves_it(
    raising: list[BaseException], error: UserError, line: str
) -> None:
    """Only where the command has it."""
    raising.append(error)
    result = run("raise")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {line}\n")


def test_windows_show_no_options() -> None:
    """Messages of what windows use as well name none; the command line adds its own."""
    package = Path(napari_nucleus.__file__).parent
    found = [
        str(node.value)
        for file in package.rglob("*.py")
        if file.parent.name != "cli"
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "UserError"
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and re.search(r"(?<!\w)--[a-z]", str(node.value))
    ]
    assert [text for text in found if "raw2ometiff" not in text] == []  # another program's


@pytest.mark.parametrize(
    "error",
    [
        ValueError("two\nlines, é µ 肿瘤"),
        KeyError("name"),
        RuntimeError(),
        OSError(22, "Invalid argument", os.fsdecode(b"\xff.png")),
        MemoryError(),
        NotImplementedError("no"),
    ],
)
def test_unexpected_error_is_one_line_and_keeps_its_traceback(
    raising: list[BaseException], error: Exception
) -> None:
    raising.append(error)
    result = run("raise")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: Unexpected {type(error).__name__}: ")
    file = Path(line.rpartition("Full traceback: ")[2])
    assert file.name.startswith("napari-nucleus-")
    content = file.read_text()
    assert content.startswith("Traceback (most recent call last):")
    assert type(error).__name__ in content.splitlines()[-2] + content.splitlines()[-1]


def test_unexpected_error_on_a_full_disk(
    raising: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at all")
    raising.append(ValueError("x"))
    assert run("raise").stderr == (
        "Error: Unexpected ValueError: x. There is no room for its traceback.\n"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "Stopped: files are written whole or not at all."),
        (Stopped("run keeps it."), "Stopped: run keeps it."),
    ],
)
def test_ctrl_c(raising: list[BaseException], error: BaseException, line: str) -> None:
    raising.append(error)
    result = run("raise")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", f"{line}\n")


def test_other_ends_are_not_errors(raising: list[BaseException]) -> None:
    raising.append(typer.Exit(3))
    assert (run("raise").exit_code, run("raise").stderr) == (3, "")
    raising.append(BrokenPipeError(32, "Broken pipe"))
    assert "Unexpected" not in run("raise").stderr


@pytest.mark.slow
def test_module_ends_in_one_line_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_nucleus", "segment", "none.png", "--mpp", "250"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
