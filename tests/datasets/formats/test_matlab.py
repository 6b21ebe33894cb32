"""CoNSeP, CPM and Lizard beyond what all formats have in common."""

from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.datasets import COMMON_TYPES, Source, load_source
from napari_nucleus.datasets.formats.matlab import CONSEP_TYPES
from napari_nucleus.errors import UserError
from tests.datasets.published import SIZE, boxes, consep, lizard, pixels, save, save_mat


def write(root: Path, labels: np.ndarray, classes: np.ndarray) -> Path:
    save(root / "Train" / "Images" / "train_1.png", pixels(0))
    return save_mat(root / "Train" / "Labels" / "train_1.mat", inst_map=labels, type_map=classes)


def test_seven_classes_merge_into_five(tmp_path: Path) -> None:
    nuclei = boxes([(4 * i, 0, 4 * i + 3, 5) for i in range(7)])
    write(tmp_path, nuclei, nuclei)
    (own,) = load_source(Source(tmp_path), CONSEP_TYPES)
    assert own.types.tolist() == list(range(8))
    (merged,) = load_source(Source(tmp_path), COMMON_TYPES)
    names = [COMMON_TYPES[i - 1] for i in merged.types[1:]]
    assert names == [
        "miscellaneous",
        "inflammatory",
        "normal_epithelial",
        "malignant_epithelial",
        "spindle",
        "spindle",
        "spindle",
    ]


def test_nucleus_has_the_class_of_most_of_its_pixels(tmp_path: Path) -> None:
    labels = boxes([(0, 0, 10, 10), (12, 0, 20, 8), (22, 0, 30, 8)]) * 300
    kinds = np.where(labels > 0, 2, 0)
    kinds[:4, :10] = 5  # 40 pixels of 100
    kinds[:5, 12:20] = 3  # 40 of 64
    kinds[:, 22:] = 0  # no class at all
    write(tmp_path, labels, kinds)
    (sample,) = load_source(Source(tmp_path), CONSEP_TYPES)
    assert sample.types.tolist() == [0, 2, 3, 255]


def test_wrong_classes_are_told(tmp_path: Path) -> None:
    write(tmp_path, boxes(), boxes() * 3)
    with pytest.raises(UserError, match=r"train_1\.mat has a class 9, but there are 7"):
        load_source(Source(tmp_path))
    write(tmp_path, boxes(), np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"has classes of \(3, 3\), nuclei of \(24, 32\) px"):
        load_source(Source(tmp_path))


def test_wrong_instance_maps_are_told(tmp_path: Path) -> None:
    for wrong in (-boxes(), boxes() / 2, np.zeros((0, 0)), np.zeros((*SIZE, 2))):
        write(tmp_path, wrong, wrong)
        with pytest.raises(UserError, match=r"train_1\.mat (is not a label image|has )"):
            load_source(Source(tmp_path))


def test_file_of_another_dataset_is_told(tmp_path: Path) -> None:
    save(tmp_path / "Train" / "Images" / "train_1.png", pixels(0))
    save_mat(tmp_path / "Train" / "Labels" / "train_1.mat", instance_map=boxes())
    with pytest.raises(UserError, match=r"train_1\.mat has no inst_map, type_map"):
        load_source(Source(tmp_path))


def test_part_itself_can_be_named(tmp_path: Path) -> None:
    consep(tmp_path)
    (sample,) = load_source(Source(tmp_path / "Test", parts=("test",)))
    assert (sample.name, sample.dataset) == ("test_1", "Test")
    with pytest.raises(UserError, match="of the parts train; it has the parts test: choose"):
        load_source(Source(tmp_path / "Test"))


def test_lizard_without_its_classes_is_told(tmp_path: Path) -> None:
    file = lizard(tmp_path)[0].file
    for kinds in ([[3], [4]], [[3], [4], [7]]):
        save_mat(file, inst_map=boxes(), id=[[1], [2], [3]], **{"class": kinds})
        with pytest.raises(UserError, match="does not give every nucleus one of 6 classes"):
            load_source(Source(tmp_path, parts=("split3",)))


def test_lizard_with_half_of_its_images_is_told(tmp_path: Path) -> None:
    lizard(tmp_path)
    for file in (tmp_path / "lizard_images2").rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"dpath_10\.mat has no image of the same name: unpack the"):
        load_source(Source(tmp_path))
