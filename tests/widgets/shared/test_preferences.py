"""Every setting of the preferences page is used."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from napari import settings as napari_settings
from napari.settings._plugin_config_generator import plugin_configuration_generator
from napari.viewer import Viewer
from npe2 import PluginManager, PluginManifest
from pytestqt.qtbot import QtBot

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.correct.review_panel import ReviewPanel
from napari_nucleus.widgets.segment import SegmentWidget
from napari_nucleus.widgets.shared.choices import ModelChoice
from napari_nucleus.widgets.shared.preferences import Preferences, preferences
from tests.tissue import Tissue


@pytest.fixture
def general(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the settings as napari makes them of the manifest; a new window reads them again."""
    manager = PluginManager()
    manager.register(PluginManifest.from_file(Path(__file__).parents[3] / "napari.yaml"))
    made = plugin_configuration_generator(manager)["napari-nucleus"](config_path=None)
    monkeypatch.setitem(napari_settings._PLUGIN_SETTINGS, "napari-nucleus", made)
    return made.general


def test_defaults_are_those_of_the_manifest(general: Any) -> None:
    assert general.model_dump() == asdict(Preferences())


def test_device_model_and_length_of_the_review(general: Any, viewer: Viewer, qtbot: QtBot) -> None:
    general.device, general.model, general.reviewed = "cpu", "msanet_small_he", 7
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    qtbot.waitUntil(lambda: widget.form.device.count() > 1, timeout=60_000)
    assert widget.form.device.device == "cpu"
    assert widget.form.model.checkpoint == "msanet_small_he"
    panel = ReviewPanel()
    qtbot.addWidget(panel)
    assert panel.count.value() == 7


def test_a_model_that_is_gone_gives_way_to_the_default(general: Any, qtbot: QtBot) -> None:
    general.model = "deleted"
    box = ModelChoice()
    qtbot.addWidget(box)
    assert box.checkpoint == "histonext_atto_he"


def test_results_go_to_the_folder(
    general: Any,
    widget: SegmentWidget,
    viewer: Viewer,
    made: Tissue,
    tmp_path: Path,
    qtbot: QtBot,
) -> None:
    general.results_folder = str(tmp_path / "all results")
    viewer.add_image(made.coded(), name="made", scale=(0.25, 0.25), units=("um", "um"))
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment_button.click()
    assert viewer.layers["nuclei"].metadata["result"] == str(
        tmp_path / "all results" / "made.nucleus"
    )
    general.results_folder = "results"
    widget.segment_button.click()
    assert "is not a full path" in widget.status.text()
    with pytest.raises(UserError, match="is not a full path"):
        preferences().folder_of_results()
