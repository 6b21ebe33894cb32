"""The plugin's manifest and the public names that others rely on."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest


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
