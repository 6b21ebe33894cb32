"""PanNuke and CoNIC beyond what all formats have in common."""

from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.datasets import Source, load_source
from napari_nucleus.datasets.formats.arrays import PANNUKE_TYPES
from napari_nucleus.datasets.formats.files import map_npy
from napari_nucleus.errors import UserError
from tests.datasets.published import SIZE, boxes, conic, pannuke, save_npy, save_text


def fold(root: Path, number: int = 1) -> tuple[Path, Path, Path]:
    """Images, tissues and masks of a fold."""
    images = root / f"Fold {number}" / "images" / f"fold{number}"
    masks = root / f"Fold {number}" / "masks" / f"fold{number}" / "masks.npy"
    return images / "images.npy", images / "types.npy", masks


def test_arrays_are_mapped_not_loaded(tmp_path: Path) -> None:
    pannuke(tmp_path)
    for file in fold(tmp_path):
        assert isinstance(map_npy(file), np.memmap)


def test_overlapping_nuclei_of_different_classes_both_stay(tmp_path: Path) -> None:
    pannuke(tmp_path)
    masks = np.zeros((2, *SIZE, 6))
    masks[:, 2:12, 2:12, 0] = 1
    masks[:, 4:7, 4:7, 4] = 1  # within it
    masks[:, 10:20, 10:13, 1] = 1  # over its corner, and smaller
    masks[..., 5] = masks[..., :5].max(-1) == 0
    save_npy(fold(tmp_path)[2], masks)
    sample = load_source(Source(tmp_path, parts=("fold1",)), PANNUKE_TYPES)[0]
    found = {
        PANNUKE_TYPES[kind - 1]: int((sample.labels == label).sum())
        for label, kind in enumerate(sample.types)
        if label
    }
    assert found == {"neoplastic": 100 - 9 - 4, "epithelial": 9, "inflammatory": 30}


def test_single_fold_can_be_named(tmp_path: Path) -> None:
    pannuke(tmp_path)
    samples = load_source(Source(tmp_path / "Fold 2"))
    assert [(s.name, s.part, s.tissue) for s in samples] == [
        ("fold2_0000_Breast", "fold2", "Breast"),
        ("fold2_0001_Bile-duct", "fold2", "Bile-duct"),
    ]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_pickled_arrays_are_refused(tmp_path: Path, which: int) -> None:
    pannuke(tmp_path)
    file = fold(tmp_path)[which]
    np.save(file, np.array(["Breast", {}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=rf"{file.name} cannot be read as a NumPy file .*objects"):
        load_source(Source(tmp_path))


def test_arrays_that_do_not_match_are_told(tmp_path: Path) -> None:
    pannuke(tmp_path)
    images, tissues, masks = fold(tmp_path)
    save_npy(masks, np.zeros((2, 24, 30, 6)))
    with pytest.raises(
        UserError, match=r"masks\.npy has shape \(2, 24, 30, 6\), its images .* match"
    ):
        load_source(Source(tmp_path))
    save_npy(masks, np.full((2, *SIZE, 6), -1.0))
    with pytest.raises(UserError, match=r"masks\.npy cannot be read as PanNuke's masks"):
        load_source(Source(tmp_path))
    save_npy(tissues, np.array(["Breast"]))
    with pytest.raises(UserError, match=r"has 2 images, its types\.npy 1"):
        load_source(Source(tmp_path))
    save_npy(images, np.zeros((2, *SIZE)))
    save_npy(tissues, np.array(["Breast", "Colon"]))
    with pytest.raises(UserError, match=r"images\.npy has shape \(2, 24, 32\): it needs images"):
        load_source(Source(tmp_path))
    tissues.unlink()
    with pytest.raises(UserError, match=r"types\.npy is missing"):
        load_source(Source(tmp_path))


def test_conic_patches_are_named_by_their_images(tmp_path: Path) -> None:
    """So that a pattern keeps all patches of an image or a cohort together."""
    conic(tmp_path)
    assert [s.name for s in load_source(Source(tmp_path))] == ["consep_1-0000", "dpath_3-0002"]
    (tmp_path / "patch_info.csv").unlink()
    assert [s.name for s in load_source(Source(tmp_path))] == ["0000", "0001"]
    save_text(tmp_path / "patch_info.csv", "patch_info\nconsep_1-0000\n")
    with pytest.raises(UserError, match=r"patch_info\.csv lists 1 patches, .*images\.npy has 2"):
        load_source(Source(tmp_path))


def test_conic_with_a_seventh_class_is_told(tmp_path: Path) -> None:
    file = conic(tmp_path)[0].file
    save_npy(file, np.stack([np.stack([boxes(), boxes() * 3], -1)] * 2).astype(np.uint16))
    with pytest.raises(UserError, match=r"labels\.npy has a class 9, but there are 6"):
        load_source(Source(tmp_path))
