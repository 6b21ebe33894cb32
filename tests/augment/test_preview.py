from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from napari_nucleus.augment import PatchSampler, create_augmentation, preview_sheet, write_preview
from napari_nucleus.datasets import Sample
from napari_nucleus.models.batch import Batch, Crops
from napari_nucleus.nucleus_types import UNKNOWN, type_colors
from tests.tissue import tissue

TYPES = ("malignant_epithelial", "inflammatory")


def seen(sample: Sample, count: int = 1) -> tuple[Crops, Batch]:
    augment = create_augmentation("moderate", 64)
    crops = PatchSampler([sample], {"made": 1}, 64, margin=augment.margin).draw(range(count), 0, 0)
    torch.manual_seed(0)
    return crops, augment(crops)


def sample_of(kind: int, doubtful: bool = False) -> Sample:
    made = tissue(100, 100, 1)
    types = np.array([0, *[kind] * len(made.types)], np.uint8)
    return Sample("a", "made", made.stained(), made.labels, types, (types > 0) & doubtful, 0.25)


def amount(sheet: np.ndarray, color: str) -> int:
    """Count the pixels of a colour."""
    return int((np.abs(sheet / 255 - to_rgb(color)).max(-1) < 0.06).sum())


def test_outlines_have_the_colours_of_the_types() -> None:
    colors = type_colors(TYPES)
    sheets = [preview_sheet(*seen(sample_of(kind)), TYPES) for kind in (1, 2)]
    for kind, name in enumerate(TYPES):
        of_type, of_other = sheets[kind], sheets[1 - kind]
        assert of_type.dtype == np.uint8
        assert of_type.ndim == 3
        assert amount(of_type, colors[name]) > 3 * amount(of_other, colors[name]) + 1000


def test_what_is_not_learned_can_be_seen() -> None:
    plain = preview_sheet(*seen(sample_of(1)), TYPES)
    untyped = preview_sheet(*seen(sample_of(UNKNOWN)), TYPES)
    doubtful = preview_sheet(*seen(sample_of(1, doubtful=True)), TYPES)
    red = type_colors(TYPES)[TYPES[0]]
    assert amount(untyped, "#ffffff") > amount(plain, "#ffffff") + 1000
    assert amount(untyped, red) < amount(plain, red) / 3
    assert amount(doubtful, "#101010") > amount(plain, "#101010") + 1000
    # their distance maps are left out
    assert amount(doubtful, "#8c8c8c") > amount(plain, "#8c8c8c") + 10_000


@pytest.mark.slow
def test_sheet_grows_with_the_patches_and_can_be_written(tmp_path: Path) -> None:
    crops, batch = seen(sample_of(1), 3)
    sheet = preview_sheet(crops, batch, TYPES, "moderate")
    few = preview_sheet(*seen(sample_of(1)), TYPES)
    assert sheet.shape[1] == few.shape[1]
    assert sheet.shape[0] > 1.5 * few.shape[0]
    write_preview(tmp_path / "sheet.png", crops, batch, TYPES, "moderate")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)


def test_patches_without_types_or_nuclei_are_drawn() -> None:
    empty = replace(sample_of(1), labels=np.zeros((100, 100), np.int32))
    sheet = preview_sheet(*seen(empty), ())
    assert sheet.std() > 5
