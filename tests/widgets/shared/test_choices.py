from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import LayerList
from napari.layers import Image, Labels
from numpy.typing import NDArray
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_nucleus.errors import UserError
from napari_nucleus.models import create_model
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.weights import sam as sam_weights
from napari_nucleus.widgets.shared.choices import ImageChoice, ModelChoice, MppField

Told = Callable[[], list[str]]


@pytest.fixture
def models(qtbot: QtBot, home: Path, weights: Path) -> ModelChoice:
    """Return the choices of someone who has trained a model."""
    trained = home / "data" / "models"
    trained.mkdir(parents=True)
    (trained / "mine.safetensors").write_bytes(weights.read_bytes())
    box = ModelChoice()
    qtbot.addWidget(box)
    return box


def from_file(box: ModelChoice, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the last item and a file in the dialog that opens; none to press Cancel there."""
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    box.setCurrentIndex(box.count() - 1)
    box.activated.emit(box.currentIndex())


def test_trained_weights_can_be_chosen_by_name(models: ModelChoice) -> None:
    models.setCurrentText("mine")
    assert models.checkpoint == "mine"


def test_weights_can_come_from_a_file(
    models: ModelChoice, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file(models, str(weights), monkeypatch)
    assert models.currentText() == "decoder"
    assert models.checkpoint == str(weights)
    from_file(models, "", monkeypatch)
    assert models.checkpoint == str(weights)


def test_a_file_that_holds_no_model_is_not_taken(
    models: ModelChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    models.setCurrentText("mine")
    models.activated.emit(models.currentIndex())
    pickled = tmp_path / "foreign.pt"
    pickled.write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UserError, match="pickled"):
        models.choose_file(pickled)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"?")
    from_file(models, str(broken), monkeypatch)
    (message,) = told()
    assert message.startswith("broken.safetensors is damaged")
    assert models.checkpoint == "mine"


def test_images_are_listed_with_what_they_need(qtbot: QtBot, told: Told) -> None:
    plane = np.zeros((40, 60, 3), np.uint8)
    layers = LayerList([Image(plane, name="a"), Image(plane[..., 0], name="b")])
    box = ImageChoice(layers)
    qtbot.addWidget(box)
    first = Image(plane.transpose(2, 0, 1), name="c")
    layers.extend([first, Labels(plane[..., 0], name="cells")])
    box.update_choices(layers)
    texts = [box.itemText(i) for i in range(box.count())]
    assert texts == ["a", "b: grey, taken as RGB", "c: channel-first, shown as RGB"]
    assert box.layer is first
    assert not told()


def test_a_new_image_that_cannot_be_segmented_is_told_about(qtbot: QtBot, told: Told) -> None:
    depth = Image(np.linspace(-3, 7, 2400).reshape(40, 60), name="depth")
    plane = Image(np.zeros((40, 60, 3), np.uint8), name="a")
    layers = LayerList([plane])
    box = ImageChoice(layers)
    qtbot.addWidget(box)
    layers.append(depth)
    box.update_choices(layers)
    box.update_choices(layers)
    (message,) = told()
    assert message.startswith("depth has values from -3 to 7: scale it")
    assert message.endswith("a stays chosen.")
    assert box.layer is plane
    assert box.itemText(1) == "depth: cannot be segmented"
    assert box.itemData(1, Qt.ItemDataRole.ToolTipRole).startswith("depth has values")
    alone = ImageChoice(LayerList([depth]))
    qtbot.addWidget(alone)
    assert alone.layer is depth


def test_lazy_images_are_looked_at_once_and_again_when_they_change(qtbot: QtBot) -> None:
    read = []

    def block(x: NDArray[np.float32]) -> NDArray[np.float32]:
        read.append(x.shape)
        return x

    pixels = da.zeros((40, 60, 3), np.float32).map_blocks(block, meta=np.empty((0, 0, 0), "f4"))
    layers = LayerList([Image(pixels, name="a")])
    box = ImageChoice(layers)
    qtbot.addWidget(box)
    read.clear()
    for _ in range(3):
        box.update_choices(layers)
    assert box.currentText() == "a: float 0–1"
    assert not read
    layers["a"].data = pixels + 200
    box.update_choices(layers)
    assert box.currentText() == "a: float 0–255"


def test_a_new_image_is_chosen_and_other_changes_keep_the_choice(qtbot: QtBot) -> None:
    plane = np.zeros((40, 60, 3), np.uint8)
    layers = LayerList([Image(plane, name="a"), Image(plane, name="b")])
    box = ImageChoice(layers)
    qtbot.addWidget(box)
    box.choose(layers["a"])
    layers["a"].name = "renamed"
    layers.remove(layers["b"])
    box.update_choices(layers)
    assert box.currentText() == "renamed"
    layers.append(Image(plane, name="c"))
    box.update_choices(layers)
    assert box.layer is layers["c"]
    layers.clear()
    box.update_choices(layers)
    assert box.layer is None


def test_scale_may_be_unknown(qtbot: QtBot) -> None:
    box = MppField()
    qtbot.addWidget(box)
    assert box.mpp is None
    assert box.text() == "unknown"
    box.mpp = 0.2527
    assert box.mpp == 0.2527
    box.mpp = None
    assert box.mpp is None


def test_model_made_meanwhile_is_in_the_list_when_it_opens(
    models: ModelChoice, home: Path, weights: Path
) -> None:
    models.setCurrentText("mine")
    (home / "data" / "models" / "newer.safetensors").write_bytes(weights.read_bytes())
    models.showPopup()
    models.hidePopup()
    assert models.checkpoint == "mine"
    models.choose("newer")
    assert models.checkpoint == "newer"
    assert models.findText("From file…") == models.count() - 1


def test_model_without_its_sam_says_so(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sam_weights, "trained_dir", lambda: tmp_path)
    file = tmp_path / "guided.safetensors"
    save_checkpoint(file, create_model("sam_eunet3plus_small"))
    box = ModelChoice()
    qtbot.addWidget(box)
    box.choose_file(file)
    told = box.itemData(box.currentIndex(), Qt.ItemDataRole.ToolTipRole)
    assert told.startswith("MobileSAM needs its weights")
    assert told.endswith(f"File: {file}")


def test_included_models_say_that_their_classes_are_of_colon(qtbot: QtBot) -> None:
    box = ModelChoice()
    qtbot.addWidget(box)
    box.choose("histonext_atto_he")
    assert box.summary.text() == "5 classes learned on colon, 0.4 µm/px, PQ 0.53"
    assert "malignant epithelial, normal epithelial, inflammatory" in box.toolTip()
    assert "31 organs" in box.toolTip()
    box.choose("eunet3plus_small_he")
    assert box.summary.text() == "No classes, 0.4 µm/px, PQ 0.42"


def test_own_models_name_their_data(qtbot: QtBot, tmp_path: Path) -> None:
    model = create_model("histonext_atto", ["dark", "pale"])
    scores = {"pq": 0.5, "f1": {"dark": 0.25, "pale": float("nan")}}
    model.card = {"data": {"ward 7": {}}, "scores": {"datasets": {"ward 7": scores}}}
    save_checkpoint(tmp_path / "own.safetensors", model)
    box = ModelChoice()
    qtbot.addWidget(box)
    box.choose_file(tmp_path / "own.safetensors")
    assert box.summary.text().startswith("2 classes learned on ward 7, ")
    assert "Validation images: PQ 0.50, classes F1 0.25" in box.toolTip()
