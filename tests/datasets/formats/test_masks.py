"""TNBC, CryoNuSeg and NuInsSeg beyond what all formats have in common."""

from pathlib import Path

import numpy as np

from napari_nucleus.datasets import Source, load_source
from tests.datasets.published import boxes, cryonuseg, nuinsseg, pixels, save, tnbc


def test_pixels_that_touch_by_a_corner_are_one_nucleus(tmp_path: Path) -> None:
    """As in the published number of nuclei."""
    file = tnbc(tmp_path)[0].file
    mask = boxes([(2, 2, 6, 6), (6, 6, 9, 9), (11, 2, 15, 6)])
    save(file, np.where(mask > 0, 255, 0).astype(np.uint8))
    sample = load_source(Source(tmp_path))[0]
    assert np.array_equal(sample.labels > 0, mask > 0)
    assert len(sample.types) - 1 == 2
    assert sample.labels[3, 3] == sample.labels[7, 7]


def test_touching_nuclei_with_numbers_of_their_own_are_kept_apart(tmp_path: Path) -> None:
    file = tnbc(tmp_path)[0].file
    save(file, boxes().astype(np.uint8) * 50)
    assert len(load_source(Source(tmp_path))[0].types) - 1 == 3


def test_cryonuseg_as_it_was_first_published(tmp_path: Path) -> None:
    """With the masks beside the images, by one annotator."""
    save(tmp_path / "tissue images" / "Human_Skin_01.tif", pixels(0))
    save(tmp_path / "label masks modify" / "Human_Skin_01.tif", boxes().astype(np.uint16))
    (sample,) = load_source(Source(tmp_path))
    assert np.array_equal(sample.labels, boxes())


def test_second_opinion_is_not_read(tmp_path: Path) -> None:
    truths = cryonuseg(tmp_path)
    other = tmp_path / "Annotator 2 (bioinformatician)" / "Annotator 2 (bioinformatician)"
    second = other / "label masks modify" / truths[0].file.name
    assert second.exists()
    assert np.array_equal(load_source(Source(tmp_path))[0].labels, boxes())


def test_nuinsseg_without_vague_areas(tmp_path: Path) -> None:
    nuinsseg(tmp_path)
    for file in tmp_path.rglob("vague areas/*/*.png"):
        file.unlink()
    assert [sample.ignored for sample in load_source(Source(tmp_path))] == [None, None]


def test_organ_can_be_held_out_by_name(tmp_path: Path) -> None:
    nuinsseg(tmp_path)
    names = [sample.name for sample in load_source(Source(tmp_path))]
    assert names == ["human_bladder_01", "mouse_liver_01"]
