"""A result of known tissue in a viewer, and the widget in which it is corrected."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from napari.layers import Labels
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_nucleus.inference import segment
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide, slide_from_arrays
from napari_nucleus.widgets.correct import CorrectWidget
from napari_nucleus.widgets.shared.layers import image_layer, nuclei_layers, placement_of
from tests.tissue import Decoder, Tissue
from tests.widgets.correct.hands import start


@pytest.fixture
def slide(made: Tissue) -> Slide:
    return slide_from_arrays([made.coded()], 0.25, "made")


@pytest.fixture
def folder(slide: Slide, tmp_path: Path) -> Path:
    return segment(slide, tmp_path / "made.nucleus", Decoder()).path


@pytest.fixture
def nuclei(viewer: Viewer, slide: Slide, folder: Path) -> Labels:
    """Return the layer of a result in the viewer, upon an image that is scaled and moved."""
    image = image_layer(slide)
    image.translate = (30, -20)
    image.metadata["result"] = str(folder)
    viewer.add_layer(image)
    layers = nuclei_layers(open_result(folder), placement_of(image))
    for layer in layers:
        viewer.add_layer(layer)
    return layers[0]


@pytest.fixture
def closed(viewer: Viewer, nuclei: Labels, qtbot: QtBot) -> Iterator[CorrectWidget]:
    """Return the widget in a window, with nothing open."""
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget)
    yield widget
    widget.finish()


@pytest.fixture
def widget(closed: CorrectWidget, qtbot: QtBot) -> CorrectWidget:
    """Return the widget with the result open for correction."""
    start(closed, qtbot)
    return closed
