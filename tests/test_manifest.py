"""What napari is told about the plugin holds in the installed package."""

from typing import Any

import pytest
from npe2 import PluginManifest


@pytest.fixture
def contributions() -> dict[str, Any]:
    return PluginManifest.from_distribution("napari-nucleus").contributions.model_dump()


def test_every_command_can_be_imported() -> None:
    PluginManifest.from_distribution("napari-nucleus").validate_imports()


def test_every_command_is_offered_and_every_offer_is_a_command(
    contributions: dict[str, Any],
) -> None:
    offered = [
        entry["command"]
        for kind in ("widgets", "readers", "writers", "sample_data")
        for entry in contributions[kind]
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
