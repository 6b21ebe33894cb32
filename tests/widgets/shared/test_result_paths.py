import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.inference import segment
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays
from napari_nucleus.widgets.shared.result_paths import result_folder
from tests.tissue import Decoder, Tissue


@pytest.fixture
def slide(made: Tissue, tmp_path: Path) -> Slide:
    Image.fromarray(made.coded()).save(tmp_path / "made.png")
    return open_slide(tmp_path / "made.png", mpp=0.25)


def test_beside_the_image(slide: Slide, tmp_path: Path) -> None:
    assert result_folder(slide) == tmp_path / "made.nucleus"


def test_in_documents_where_one_may_not_write(
    slide: Slide, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert result_folder(slide) == home / "documents" / "napari-nucleus" / "made.nucleus"


def test_an_earlier_result_of_the_same_file_is_replaced(slide: Slide) -> None:
    out = segment(slide, result_folder(slide), Decoder()).path
    assert result_folder(slide) == out


def test_corrections_stay(slide: Slide) -> None:
    out = segment(slide, result_folder(slide), Decoder()).path
    (out / "edits.jsonl").write_text("{}\n")
    assert result_folder(slide) == out.with_name("made-2.nucleus")


def test_what_is_not_a_result_of_this_image_stays(
    slide: Slide, made: Tissue, tmp_path: Path
) -> None:
    (tmp_path / "made.nucleus").mkdir()
    other = slide_from_arrays([made.coded()], 0.25)
    segment(other, tmp_path / "made-2.nucleus", Decoder())
    assert result_folder(slide) == tmp_path / "made-3.nucleus"


def test_layers_without_a_file_share_no_folder_by_name(made: Tissue) -> None:
    slide = slide_from_arrays([made.coded()], 0.25, "image")
    first = segment(slide, result_folder(slide), Decoder()).path
    assert result_folder(slide).name == "image-2.nucleus"
    assert result_folder(slide, earlier=first) == first


def test_any_name_of_a_layer_makes_a_folder(home: Path) -> None:
    slide = slide_from_arrays([np.zeros((9, 9, 3), np.uint8)], 0.25, "../a/b [1]: µ")
    folder = result_folder(slide)
    assert folder.parent == home / "documents" / "napari-nucleus"
    assert folder.name == ".._a_b _1__ µ.nucleus"
