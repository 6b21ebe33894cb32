"""The direction of the arrows between the rooms, seen from a fresh interpreter."""

import pkgutil
import subprocess
import sys

import pytest

import napari_nucleus

CORE = sorted(
    module.name
    for module in pkgutil.walk_packages(napari_nucleus.__path__, "napari_nucleus.")
    if not module.name.startswith("napari_nucleus.widgets")
)
WITHOUT_TORCH = (
    "datasets",
    "edits.session",
    "instances",
    "measure",
    "metrics",
    "nucleus_types",
    "prompts.propose",
    "results.export",
    "retraining",
    "slides",
    "training",
    "weights.sam",
    "weights.store",
)


def loaded_after(*modules: str) -> set[str]:
    """Return the top-level packages in a fresh interpreter that has imported the modules."""
    lines = [f"import {name}" for name in modules]
    lines += ["import sys", "print(*{name.partition('.')[0] for name in sys.modules})"]
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


@pytest.mark.slow
def test_core_knows_no_screen() -> None:
    screen = {"magicgui", "napari", "qtpy", "superqt", "vispy", "PyQt5", "PyQt6", "PySide6"}
    assert not loaded_after(*CORE) & screen


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules",
    [
        pytest.param([f"napari_nucleus.{name}" for name in WITHOUT_TORCH], id="array modules"),
        pytest.param(["napari_nucleus"], id="package"),
        pytest.param(
            [
                f"napari_nucleus.widgets.{name}"
                for name in ("open_slide", "segment", "correct", "train")
            ],
            id="widgets",
        ),
    ],
)
def test_torch_waits_until_it_is_needed(modules: list[str]) -> None:
    assert "torch" not in loaded_after(*modules)
