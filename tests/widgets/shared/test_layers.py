import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
from napari.viewer import Viewer
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.inference import segment
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.journal import state
from napari_nucleus.results.journal.state import read_nuclei
from napari_nucleus.slides import open_slide, slide_from_arrays
from napari_nucleus.widgets.shared import layers
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import (
    image_layer,
    is_to_be_made,
    nuclei_layers,
    placement,
    with_overview,
)
from tests.tissue import Decoder, Tissue, tissue


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    slide = slide_from_arrays([tissue(300, 600).coded()], 0.25)  # of two levels
    return segment(slide, tmp_path_factory.mktemp("result") / "made.nucleus", Decoder())


def test_image_has_its_true_scale() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3000, 1400, 3), np.uint8)
    layer = image_layer(slide_from_arrays([pixels], 0.5, "colon"))
    assert layer.name == "colon"
    assert layer.rgb
    assert [level.shape for level in layer.data] == [(3000, 1400, 3), (1500, 700, 3), (750, 350, 3)]
    np.testing.assert_array_equal(layer.data[0], pixels)
    assert layer.metadata == {"path": None, "mpp": 0.5}
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    np.testing.assert_allclose(layer.extent.world[1] - layer.extent.world[0], (1499.5, 699.5))


def test_image_without_scale_is_measured_in_pixels() -> None:
    layer = image_layer(slide_from_arrays([np.zeros((20, 30, 3), np.uint8)]))
    assert {str(unit) for unit in layer.units} == {"pixel"}
    assert tuple(layer.scale) == (1, 1)


def test_zooming_out_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_OVERVIEW", 1000 * 1000)
    read: list[tuple] = []

    def block(block_info: dict) -> np.ndarray:
        read.append(block_info[None]["chunk-location"])
        return np.full(block_info[None]["chunk-shape"], 7, np.uint8)

    stored = [
        da.map_blocks(block, chunks=((side,) * 2, (side,) * 2, (3,)), dtype=np.uint8)
        for side in (1000, 500, 250)
    ]
    slide = with_overview(slide_from_arrays(stored, 0.5, "large"))
    read.clear()
    for level in slide.levels[1:]:
        assert (level.compute() == 7).all()
    assert not read
    slide.levels[0].compute()
    assert read


def test_a_large_image_without_overview_appears_at_once_and_fills(
    viewer: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is segmented is the whole, whether or not it is there to be seen."""
    monkeypatch.setattr(layers, "_OVERVIEW", 2**20)
    go_on = Event()

    def block(block_info: dict) -> np.ndarray:
        go_on.wait(20)
        return np.full(block_info[None]["chunk-shape"], 7, np.uint8)

    stored = da.map_blocks(block, chunks=((1024,) * 2, (1024,) * 2, (3,)), dtype=np.uint8)
    layer = image_layer(slide_from_arrays([stored], 0.5, "large"))
    viewer.add_layer(layer)
    assert not np.asarray(layer.data[-1]).any()
    slide = layer_slide(layer, 0.5)
    drawn: list[object] = []
    layer.events.set_data.connect(drawn.append)
    go_on.set()
    assert (slide.thumbnail()[1:-1, 1:-1] == 7).all()
    qtbot.waitUntil(lambda: bool(drawn), timeout=20_000)
    assert (np.asarray(layer.data[-1]) == 7).all()
    assert is_to_be_made(slide_from_arrays([stored], 0.5, "another"))


def test_large_results_are_read_where_they_are_looked_at(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And hold the same as small ones, which can be painted in."""
    nuclei, classes = nuclei_layers(result, placement(0.25))
    assert nuclei.editable
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    large_nuclei, large_classes = nuclei_layers(result, placement(0.25))
    assert isinstance(large_nuclei.data[0], da.Array)
    assert isinstance(large_classes.data[0], da.Array)
    np.testing.assert_array_equal(large_nuclei.data[0], nuclei.data)
    np.testing.assert_array_equal(large_nuclei.data[1], nuclei.data[::2, ::2])
    np.testing.assert_array_equal(large_classes.data[0], classes.data)
    assert large_classes.data[0].dtype == classes.data.dtype == np.uint8


def test_nuclei_that_another_window_adds_break_no_large_layer(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.nucleus"
    shutil.copytree(result.path, path)
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    _, classes = nuclei_layers(open_result(path), placement(0.25))
    slide = slide_from_arrays([tissue(300, 600).coded()], 0.25)
    with EditSession(path, slide) as session:
        before = session.read_labels(0, 0, 600, 300)
        session.apply(operations.split, [(x, 150) for x in (0, 599)])
        new = session.read_labels(0, 0, 600, 300) > before.max()
    assert new.any()
    assert not classes.data[0].compute()[new].any()


def test_features_hold_the_table(result: Result) -> None:
    nuclei, _ = nuclei_layers(result, {})
    table = result.table()
    for name, column in table.items():
        np.testing.assert_array_equal(nuclei.features[name], column)
    for label, told in ((2, f"type: {table['type'][1]}"), (0, "")):  # 0 is the background
        y, x = np.argwhere(np.asarray(nuclei.data) == label)[0]
        assert told in nuclei.get_status((y, x))["value"]
        assert "nan" not in nuclei.get_status((y, x))["value"]


def test_a_large_result_opens_without_its_measurements(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status bar asks for them."""
    path = result.path
    table = result.table()
    y, x = 2 * np.argwhere(result.read_labels(0, 0, 300, 150, level=1) == 2)[0]
    read: list[Sequence[str] | None] = []

    def watch(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
        read.append(columns)
        return read_nuclei(folder, columns)

    monkeypatch.setattr(state, "read_nuclei", watch)
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    nuclei, _ = nuclei_layers(open_result(path), {})
    assert read == [("label", "type")]
    told = [nuclei.get_status((y, x))[name] for name in ("value", "coordinates")]
    assert read[1:] == [None]
    row = table.set_index("label").loc[2]
    for text in told:
        assert f"; type: {row['type']}, " in text
        assert f"area_um2: {row['area_um2']:.5g}, " in text
        assert "edited" not in text
    for background in (None, (0, 0)):
        assert "type" not in nuclei.get_status(background)["value"]
    assert nuclei.as_layer_data_tuple()[2] == "labels"


def test_the_status_bar_follows_corrections(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.nucleus"
    shutil.copytree(result.path, path)
    monkeypatch.setattr(layers, "PAINTABLE", 0)
    nuclei, _ = nuclei_layers(open_result(path), {})
    y, x = 2 * np.argwhere(result.read_labels(0, 0, 300, 150, level=1) == 2)[0]
    before = result.table().set_index("label")["type"][2]
    other = next(name for name in result.types if name != before)
    assert f"type: {before}, " in nuclei.get_status((y, x))["value"]
    with EditSession(path, slide_from_arrays([tissue(300, 600).coded()], 0.25)) as session:
        session.apply(operations.reclassify, [2], other)
        assert f"type: {other}, " in nuclei.get_status((y, x))["value"]
    shutil.rmtree(path)
    assert "type" not in nuclei.get_status((y, x))["value"]


def test_classes_carry_the_names_of_their_numbers(result: Result) -> None:
    _, classes = nuclei_layers(result, {})
    assert list(classes.features["type"]) == ["", *result.types]


def test_file_is_remembered(tmp_path: Path, made: Tissue) -> None:
    Image.fromarray(made.coded()).save(tmp_path / "made.png")
    layer = image_layer(open_slide(tmp_path / "made.png", mpp=0.3))
    assert layer.metadata == {"path": str(tmp_path / "made.png"), "mpp": 0.3}
