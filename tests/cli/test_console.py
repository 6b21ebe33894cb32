"""Output on any console, and how a job is stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from napari_nucleus.cli import app, console
from napari_nucleus.cli.console import print_json, progress, run_until_stopped, say

ENCODINGS = ("utf-8", "gbk", "cp932", "cp1252", "ascii")
COMMANDS = ("segment", "export", "evaluate", "train", "retrain", "models")
NAME = "Schnitt_Müller_肿瘤_µ"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("arguments", [["models"], *([name, "--help"] for name in COMMANDS)])
def test_every_console_can_show_it(encoding: str, arguments: list[str]) -> None:
    result = CliRunner(charset=encoding).invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    if arguments == ["models"]:
        assert "µm/px".encode(encoding, "replace").decode(encoding) in result.stdout


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_names_that_a_console_cannot_show(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.command("show", hidden=True)
    def show() -> None:
        say(f"{NAME}.nucleus")
        print_json({"name": Path(NAME), "bytes": os.fsdecode(b"\xff.png")})
        with progress(NAME) as update:
            update(1, 3, f"{NAME} …")

    monkeypatch.setattr(console, "err", Console(stderr=True, force_terminal=True, width=80))
    try:
        result = CliRunner(charset=encoding).invoke(app, ["show"])
    finally:
        app.registered_commands.pop()
    assert result.exit_code == 0, result.exception
    shown, found = result.stdout.splitlines()
    assert shown == f"{NAME}.nucleus".encode(encoding, "replace").decode(encoding)
    assert json.loads(found) == {"name": NAME, "bytes": "\udcff.png"}
    assert NAME.encode(encoding, "replace").decode(encoding) in result.stderr


@pytest.mark.slow
def test_program_in_the_c_locale() -> None:
    """Without UTF-8 mode, Python takes ASCII for the console's encoding there."""
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONIOENCODING"}
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "napari_nucleus", "models"],
        capture_output=True,
        env=environment | locale,
    )
    assert done.returncode == 0, done.stderr
    assert b"?m/px" in done.stdout


def counting(log: list[object]) -> Generator[int, None, str]:
    """A job of five steps that tells when it is closed."""
    try:
        for number in range(5):
            log.append(number)
            yield number
    except GeneratorExit:
        log.append("closed")
        raise
    return "done"


def test_job_runs_to_its_end() -> None:
    log: list[object] = []
    assert run_until_stopped(counting([]), log.append) == "done"
    assert log == [0, 1, 2, 3, 4]


def test_stop_keeps_the_step_in_hand() -> None:
    log: list[object] = []

    def interrupted() -> Generator[int, None, str]:
        done = yield from counting(log)
        return done

    def steps() -> Generator[int, None, str]:
        job = interrupted()
        yield next(job)
        signal.raise_signal(signal.SIGINT)
        log.append("goes on")
        try:
            yield next(job)
        finally:
            job.close()
        return "never"

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(steps(), lambda _: None)
    assert log == [0, "goes on", 1, "closed"]
    assert signal.getsignal(signal.SIGINT) is before


def test_stop_at_once() -> None:
    """Before the first step, or when pressed twice."""
    log: list[object] = []

    def steps(done: int) -> Generator[int, None, None]:
        yield from range(done)
        signal.raise_signal(signal.SIGINT)
        log.append("once")
        signal.raise_signal(signal.SIGINT)
        log.append("twice")
        yield done

    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(steps(0), lambda _: None)
    assert log == []
    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(steps(1), lambda _: None)
    assert log == ["once"]
