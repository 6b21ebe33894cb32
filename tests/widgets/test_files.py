"""What napari opens and saves through the plugin's manifest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.viewer import Viewer
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_nucleus.inference import segment
from napari_nucleus.slides import open_slide
from napari_nucleus.widgets.readers import read_result, read_slide
from napari_nucleus.widgets.shared import background, layers
from tests.made_slides import smooth, write_ome_zarr
from tests.tissue import TYPES, Decoder, Tissue

Told = Callable[[], list[str]]
PLUGIN = "napari-nucleus"


@pytest.fixture
def folder(made: Tissue, tmp_path: Path) -> Path:
    """Return a result folder with its image beside it."""
    Image.fromarray(made.coded()).save(tmp_path / "made.png")
    slide = open_slide(tmp_path / "made.png", mpp=0.25)
    return segment(slide, tmp_path / "made.nucleus", Decoder()).path


def test_result_folder_opens_with_its_image(viewer: Viewer, folder: Path, made: Tissue) -> None:
    viewer.open(folder, plugin=PLUGIN)
    image, nuclei, classes = viewer.layers
    assert [layer.name for layer in viewer.layers] == ["made", "nuclei", "classes"]
    np.testing.assert_array_equal(image.data, made.coded())
    np.testing.assert_array_equal(nuclei.data > 0, made.labels > 0)
    assert nuclei.contour > 0
    for layer in viewer.layers:
        assert tuple(layer.scale) == (0.25, 0.25)
        assert layer.metadata["result"] == str(folder)
    assert classes.metadata["counts"] == {
        "nuclei": len(made.types),
        **{name: (made.types == name).sum() for name in TYPES},
    }


def test_result_opens_without_its_image(viewer: Viewer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "made.png").unlink()
    viewer.open(folder, plugin=PLUGIN)
    assert [layer.name for layer in viewer.layers] == ["nuclei", "classes"]


def test_another_image_of_that_name_is_not_taken_for_it(
    viewer: Viewer, folder: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "made.png")
    viewer.open(folder, plugin=PLUGIN)
    assert [layer.name for layer in viewer.layers] == ["nuclei", "classes"]


def test_damaged_result_is_one_line(viewer: Viewer, folder: Path, told: Told) -> None:
    shutil.rmtree(folder / "labels.zarr")
    viewer.open(folder, plugin=PLUGIN)
    (message,) = told()
    assert "damaged" in message
    assert not viewer.layers


def test_slide_opens_at_its_true_scale(viewer: Viewer, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    file = tmp_path / "slide.tif"
    tifffile.imwrite(file, pixels, resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
    viewer.open(file, plugin=PLUGIN)
    (layer,) = viewer.layers
    np.testing.assert_array_equal(layer.data, pixels)
    assert layer.scale == pytest.approx((0.25, 0.25))
    assert layer.metadata == {"path": str(file), "mpp": pytest.approx(0.25)}


def test_a_large_slide_without_overview_fills_once_it_is_open(
    viewer: Viewer, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer is napari's own, made of what the reader returns."""
    monkeypatch.setattr(layers, "_OVERVIEW", 2**20)
    monkeypatch.setattr(background, "_REDRAW", 0)
    file = tmp_path / "slide.tif"
    pixels = np.full((2048, 3000, 3), 7, np.uint8)
    tifffile.imwrite(file, pixels, tile=(256, 256), photometric="rgb", compression="zlib")
    viewer.open(file, plugin=PLUGIN)
    (layer,) = viewer.layers
    qtbot.waitUntil(lambda: layer._slice.image.raw.min() == 7, timeout=20_000)
    assert (np.asarray(layer.data[-1]) == 7).all()


def test_folders_are_results_or_slides(folder: Path, tmp_path: Path, told: Told) -> None:
    """napari offers any folder to both readers, and takes the first that wants it."""
    pixels = smooth(300, 400)
    slide = str(write_ome_zarr(tmp_path / "slide.ome.zarr", [pixels]))
    assert read_result(slide) is None
    assert read_slide(str(folder)) is None
    assert read_result(str(folder)) is not None
    read = read_slide(slide)
    assert read is not None
    (layer,) = read(slide)
    np.testing.assert_array_equal(layer.data, pixels)
    assert layer.metadata == {"path": slide, "mpp": 0.25}
    (tmp_path / "empty").mkdir()
    read = read_slide(str(tmp_path / "empty"))
    assert read is not None
    assert read(str(tmp_path / "empty")) == [(None,)]
    assert "is a folder: choose an image in it" in told()[-1]


def test_broken_slide_is_one_line(viewer: Viewer, tmp_path: Path, told: Told) -> None:
    (tmp_path / "slide.svs").write_bytes(b"")
    viewer.open(tmp_path / "slide.svs", plugin=PLUGIN)
    (message,) = told()
    assert message.startswith("slide.svs is empty")
    assert not viewer.layers


def test_nuclei_are_saved_as_csv(viewer: Viewer, folder: Path, tmp_path: Path) -> None:
    viewer.open(folder, plugin=PLUGIN)
    viewer.layers["nuclei"].save(str(tmp_path / "nuclei.csv"), plugin=PLUGIN)
    saved = pd.read_csv(tmp_path / "nuclei.csv")
    run = json.loads((folder / "run.json").read_text())
    assert saved["type"].value_counts().to_dict() == {k: run["counts"][k] for k in TYPES}


def test_sample_is_tissue_at_a_scale(viewer: Viewer) -> None:
    viewer.open_sample(PLUGIN, "tissue")
    (layer,) = viewer.layers
    assert layer.data.shape == (512, 512, 3)
    assert layer.rgb
    assert tuple(layer.scale) == (0.5, 0.5)
    _, green, blue = layer.data.reshape(-1, 3).T.astype(int)
    assert np.mean(blue < green) < 0.01  # nothing is brown
