"""NuCLS beyond what all formats have in common."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_nucleus.datasets import COMMON_TYPES, Source, load_source
from napari_nucleus.datasets.formats.nucls import NUCLS_TYPES
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from tests.datasets.published import area, nucls, save_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return nucls(tmp_path)[0].file


def change(file: Path, row: int, **values: int | str) -> None:
    table = pd.read_csv(file, index_col=0)
    for key, value in values.items():
        table[key] = table[key].astype(object)
        table.loc[row, key] = value
    table.to_csv(file)


def first(file: Path) -> Source:
    return Source(file.parents[1], parts=("fold2",))


def test_box_is_an_ellipse_in_doubt(file: Path) -> None:
    """The second nucleus: 7 x 8 px from (11, 4)."""
    change(file, 1, type="rectangle", coords_x="11,18", coords_y="4,12")
    (sample,) = load_source(first(file), NUCLS_TYPES)
    y, x = np.mgrid[:24, :32] + 0.5
    ellipse = ((x - 14.5) / 3.5) ** 2 + ((y - 8) / 4) ** 2 < 1
    assert np.array_equal(sample.labels == 2, ellipse)
    assert sample.doubtful.tolist() == [False, False, True, False]
    assert sample.types[2] == 1 + NUCLS_TYPES.index("plasma_cell")
    assert sample.ignored is not None
    assert np.array_equal(sample.ignored, area(11, 4, 18, 12) & ~ellipse)


def test_box_gives_way_to_a_drawn_neighbour(file: Path) -> None:
    change(file, 1, type="rectangle", xmin=8)  # into the first nucleus
    (sample,) = load_source(first(file))
    assert sample.ignored is not None
    assert not (sample.ignored & (sample.labels > 0)).any()
    assert (sample.labels[2:4, 3:11] == 1).all()


def test_field_of_view_is_no_nucleus(file: Path) -> None:
    change(file, 2, raw_classification="fov_basic", type="rectangle")
    (sample,) = load_source(first(file))
    assert len(sample.types) - 1 == 2
    assert not sample.labels[15:].any()


def test_slide_without_fold_is_read_with_the_training(file: Path) -> None:
    for split in file.parents[1].glob("train_test_splits/*"):
        split.unlink()
    samples = load_source(Source(file.parents[1]), COMMON_TYPES)
    assert [sample.part for sample in samples] == ["", ""]
    assert samples[0].types.tolist() == [0, 1, 3, UNKNOWN]


@pytest.mark.parametrize(
    ("key", "value"), [("coords_x", "3,11"), ("coords_x", "a,b,c,d"), ("xmin", "x")]
)
def test_outline_that_is_none_is_told(file: Path, key: str, value: str) -> None:
    change(file, 0, **{key: value})
    with pytest.raises(UserError, match=r"\.csv cannot be read as (outlines|a table)"):
        load_source(first(file))


def test_missing_columns_are_told(file: Path) -> None:
    save_text(file, "group,xmin\ntumor,3\n")
    with pytest.raises(UserError, match="has no columns raw_classification,type,xmin"):
        load_source(first(file))
