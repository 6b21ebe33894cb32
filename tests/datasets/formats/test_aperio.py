"""Kumar, MoNuSeg and MoNuSAC beyond what all formats have in common."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.datasets import Source, load_source
from napari_nucleus.datasets.formats.aperio import KUMAR_PART, read_regions
from napari_nucleus.errors import UserError
from tests.datasets.published import corners, image_scope, monusac, pixels, save, save_text


def test_kumar_is_split_as_hovernet_splits_it(datasets: Path) -> None:
    assert Counter(KUMAR_PART.values()) == {"train": 16, "test_same": 8, "test_diff": 6}
    given = {file.stem[:12] for file in (datasets / "kumar_train" / "images").iterdir()}
    assert given == {patient for patient, part in KUMAR_PART.items() if part == "train"}


def test_kumar_leaves_out_the_other_images_of_monuseg(tmp_path: Path) -> None:
    for seed, name in enumerate(("TCGA-18-5592-01Z-00-DX1", "TCGA-UZ-A9PN-01Z-00-DX1")):
        save(tmp_path / f"{name}.tif", pixels(seed))
        save_text(tmp_path / f"{name}.xml", image_scope({"Description": [(1, 1, 5, 5)]}))
    assert len(load_source(Source(tmp_path))) == 2
    names = [sample.name for sample in load_source(Source(tmp_path, format="kumar"))]
    assert names == ["TCGA-18-5592-01Z-00-DX1"]


def test_clicks_and_lines_are_no_nuclei(tmp_path: Path) -> None:
    text = image_scope({"Description": [(1, 1, 5, 5)]})
    for count in (0, 1, 2):
        vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners((8, 8, 12, 12))[:count])
        text = text.replace(
            "</Regions>", f"<Region><Vertices>{vertices}</Vertices></Region></Regions>"
        )
    regions = read_regions(save_text(tmp_path / "a.xml", text))
    assert [(name, outline.bounds) for name, outline in regions] == [
        ("description", (1.0, 1.0, 5.0, 5.0))
    ]


@pytest.mark.parametrize("wrong", ['X="a"', 'U="1"', 'X="nan"', 'X="inf"'])
def test_vertex_without_a_place_is_told(tmp_path: Path, wrong: str) -> None:
    text = image_scope({"Description": [(1, 1, 5, 5)]}).replace('X="1.0"', wrong, 1)
    with pytest.raises(UserError, match=r"a\.xml cannot be read as an ImageScope annotation"):
        read_regions(save_text(tmp_path / "a.xml", text))


def test_entities_are_not_expanded_from_files(tmp_path: Path) -> None:
    save_text(tmp_path / "secret", "1.0")
    text = image_scope({"Description": [(1, 1, 5, 5)]}).replace(
        '<?xml version="1.0"?>',
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "secret">]>',
    )
    file = save_text(tmp_path / "a.xml", text.replace("<Plots/>", "<Plots>&x;</Plots>"))
    with pytest.raises(UserError, match=r"a\.xml cannot be read as XML"):
        read_regions(file)


def test_image_is_read_from_the_slide_where_no_tiff_was_cut(tmp_path: Path) -> None:
    monusac(tmp_path)
    first, second = load_source(Source(tmp_path, parts=("train", "test")))
    assert (first.part, second.part) == ("test", "train")
    assert np.array_equal(first.image, pixels(1))  # there is but an .svs
    assert np.array_equal(second.image, pixels(0))  # and here a .tif beside one


@pytest.mark.parametrize(
    ("root", "part"),
    [("MoNuSegTestData", "test"), ("test_of_mine", "train"), ("latest", "train")],
)
def test_part_is_told_by_the_challenge_s_folder(tmp_path: Path, root: str, part: str) -> None:
    save(tmp_path / root / "TCGA-2Z-A9J9-01A-01-TS1.tif", pixels(0))
    text = image_scope({"Description": [(1, 1, 5, 5)]})
    save_text(tmp_path / root / "TCGA-2Z-A9J9-01A-01-TS1.xml", text)
    (sample,) = load_source(Source(tmp_path / root, parts=("train", "test")))
    assert sample.part == part


def test_image_without_annotation_is_told(tmp_path: Path) -> None:
    monusac(tmp_path)
    folder = tmp_path / "MoNuSAC_images_and_annotations" / "TCGA-5P-A9K0-01Z-00-DX1"
    save(folder / "TCGA-5P-A9K0-01Z-00-DX1_2.tif", pixels(3))
    with pytest.raises(UserError, match=r"DX1_2\.tif has no annotation of the same name"):
        load_source(Source(tmp_path))
    assert len(load_source(Source(tmp_path, parts=("test",)))) == 1


def test_annotation_without_image_is_told(tmp_path: Path) -> None:
    for file in monusac(tmp_path):
        for suffix in (".tif", ".svs"):
            file.file.with_suffix(suffix).unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"DX1_1\.xml has no image of the same name"):
        load_source(Source(tmp_path))
