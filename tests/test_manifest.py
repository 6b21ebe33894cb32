"""The plugin's manifest and the public names that others rely on."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

from napari_nucleus.slides.formats import SUFFIXES


@pytest.fixture
def contributions() -> dict[str, Any]:
    return PluginManifest.from_distribution("napari-nucleus").contributions.model_dump()


def test_every_command_can_be_imported() -> None:
    PluginManifest.from_distribution("napari-nucleus").validate_imports()


def test_every_command_is_in_the_package() -> None:
    """The manifest of the checkout, which may be ahead of the installed copy."""
    manifest = Path(__file__).parents[1] / "napari.yaml"
    commands = PluginManifest.from_file(manifest).contributions.commands or []
    names = [str(command.python_name) for command in commands]
    assert len(names) == len(set(names)) >= 8
    for name in names:
        module, _, attribute = name.partition(":")
        assert callable(getattr(import_module(module), attribute))


@pytest.mark.parametrize(
    "name",
    [
        "napari_nucleus:create_model",
        "napari_nucleus:evaluate",
        "napari_nucleus:open_slide",
        "napari_nucleus:retrain",
        "napari_nucleus:segment",
        "napari_nucleus:train",
        "napari_nucleus.instances:hover_instances",
        "napari_nucleus.metrics:score_pair",
    ],
)
def test_public_functions_keep_their_paths(name: str) -> None:
    module, _, function = name.partition(":")
    assert getattr(import_module(module), function).__name__ == function


def test_formats_are_the_same_everywhere() -> None:
    """In napari's readers, on the command line and in the docs."""
    root = Path(__file__).parents[1]
    readers = PluginManifest.from_file(root / "napari.yaml").contributions.readers or []
    patterns = {
        pattern for one in readers for pattern in one.filename_patterns if "nucleus" not in pattern
    }
    by_napari = {".png", ".jpg", ".jpeg"}
    assert patterns == {f"*{suffix}" for suffix in set(SUFFIXES) - by_napari}
    lines = (root / "docs" / "formats.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|")[2] for line in lines if line.startswith("| ")]
    assert {suffix for row in rows for suffix in re.findall(r"`(\.\w+)`", row)} == set(SUFFIXES)


def test_every_command_is_offered_and_every_offer_is_a_command(
    contributions: dict[str, Any],
) -> None:
    offered = [
        entry["command"]
        for section in ("widgets", "readers", "writers", "sample_data")
        for entry in contributions[section]
    ]
    assert sorted(offered) == sorted(command["id"] for command in contributions["commands"])


def test_menus_offer_the_widgets(contributions: dict[str, Any]) -> None:
    offered = {
        menu: [item["command"] for item in items] for menu, items in contributions["menus"].items()
    }
    assert offered == {
        "napari/file/io_utilities": ["napari-nucleus.open_slide"],
        "napari/layers/segment": ["napari-nucleus.segment", "napari-nucleus.train"],
        "napari/layers/annotate": ["napari-nucleus.correct"],
    }
