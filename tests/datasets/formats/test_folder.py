from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nucleus.datasets import Source, find_types, load_source, read_labels
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from tests.tissue import tissue, write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "made", {"a": tissue(60, 80, 1), "b": tissue(50, 70, 2)})


def test_samples_are_what_was_written(folder: Path) -> None:
    made = {"a": tissue(60, 80, 1), "b": tissue(50, 70, 2)}
    samples = load_source(Source(folder), ["pale", "dark"])
    assert [(s.name, s.dataset, s.mpp) for s in samples] == [
        ("a", "made", 0.25),
        ("b", "made", 0.25),
    ]
    for seed, sample in enumerate(samples):
        true = made[sample.name]
        assert np.array_equal(sample.image, true.stained(seed))
        assert np.array_equal(sample.labels, true.labels)
        assert sample.types.tolist() == [0, *(1 if t == "pale" else 2 for t in true.types)]
        assert not sample.doubtful.any()


def test_types_that_are_not_asked_for_are_unknown(folder: Path) -> None:
    sample = load_source(Source(folder), ["dark"])[0]
    assert sample.types.tolist() == [
        0,
        *(1 if t == "dark" else UNKNOWN for t in tissue(60, 80, 1).types),
    ]
    assert set(load_source(Source(folder))[0].types[1:]) == {UNKNOWN}


def test_types_are_found(folder: Path, tmp_path: Path) -> None:
    without = write_dataset(tmp_path / "without", {"a": tissue(40, 40, 1)})
    (without / "labels" / "a.csv").unlink()
    assert find_types([Source(without), Source(folder)]) == ("dark", "pale")


def test_numbers_with_gaps_keep_their_types(folder: Path) -> None:
    labels = np.zeros((60, 80), np.uint16)
    labels[5:10, 5:10], labels[20:30, 20:30], labels[40:50, 40:50] = 900, 7, 55
    tifffile.imwrite(folder / "labels" / "a.tif", labels)
    (folder / "labels" / "a.csv").write_text("label,type,source\n900,dark,x\n7,pale,y\n")
    sample = load_source(Source(folder), ["dark", "pale"])[0]
    assert [int(sample.types[sample.labels[p]]) for p in ((25, 25), (7, 7), (45, 45))] == [
        2,
        1,
        UNKNOWN,
    ]
    assert sample.labels.max() == 3


def test_label_image_without_background(tmp_path: Path) -> None:
    file = tmp_path / "full.tif"
    tifffile.imwrite(file, np.array([[4, 4], [9, 4]], np.uint8))
    found, ids = read_labels(file)
    assert found.tolist() == [[1, 1], [2, 1]]
    assert ids.tolist() == [0, 4, 9]


def test_samples_are_brought_to_one_resolution(folder: Path) -> None:
    sample = load_source(Source(folder, mpp=0.5), mpp=0.25)[0]
    assert sample.image.shape == (120, 160, 3)
    assert sample.mpp == 0.25
    assert np.array_equal(sample.labels, np.kron(tissue(60, 80, 1).labels, np.ones((2, 2), int)))


def test_resolution_is_estimated_from_nuclei(tmp_path: Path) -> None:
    """Discs of 15 px are nuclei of 7.5 µm at 0.5 µm/px."""
    y, x = np.mgrid[:20, :20] - 9.5
    disc = (x**2 + y**2 < 7.5**2).astype(np.uint16)
    folder = write_dataset(tmp_path / "discs", {"a": tissue(20, 60, 1)})
    tifffile.imwrite(folder / "labels" / "a.tif", np.hstack([disc, 2 * disc, 3 * disc]))
    assert load_source(Source(folder, mpp="nuclei"))[0].mpp == pytest.approx(0.5, rel=0.02)


def test_doubtful_nuclei_and_other_labels(folder: Path) -> None:
    (folder / "labels").rename(folder / "split")
    (folder / "doubtful.csv").write_text("name,label\na,2\na,5\n")
    options = Source(folder, labels="split", doubtful="doubtful.csv")
    doubtful = [np.flatnonzero(sample.doubtful).tolist() for sample in load_source(options)]
    assert doubtful == [[2, 5], []]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "labels" / "b.tif").unlink(), "b.tif is missing"),
        (lambda f: (f / "labels" / "b.tif").write_bytes(b"II*\0"), "cannot be read as a label"),
        (
            lambda f: tifffile.imwrite(f / "labels" / "b.tif", np.zeros((70, 50), np.uint8)),
            "b.tif has labels of 50 x 70 px, its image 70 x 50: they must match",
        ),
        (
            lambda f: tifffile.imwrite(f / "labels" / "b.tif", np.full((50, 70), 0.5, np.float32)),
            "one channel of whole numbers",
        ),
        (
            lambda f: tifffile.imwrite(f / "labels" / "b.tif", np.full((50, 70), -1, np.int16)),
            "one channel of whole numbers",
        ),
        (lambda f: (f / "labels" / "b.csv").write_text("id,kind\n1,x\n"), "columns label,type"),
        (
            lambda f: (f / "labels" / "b.csv").write_text("label,type\n1,x\n1,y\n"),
            "gives label 1 more than one type",
        ),
        (lambda f: (f / "images" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "b.png is damaged"),
        (lambda f: [i.unlink() for i in (f / "images").iterdir()], "fits no known format"),
    ],
)
def test_bad_folders_are_told(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_source(Source(folder), ["dark"])


def test_grey_and_tiff_images_are_read(folder: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    (folder / "images" / "a.png").unlink()
    tifffile.imwrite(folder / "images" / "a.tif", grey)
    Image.fromarray(np.full((50, 70, 4), (10, 20, 30, 255), np.uint8)).save(
        folder / "images" / "b.png"
    )
    grey_sample, rgba_sample = load_source(Source(folder))
    assert np.array_equal(grey_sample.image, np.repeat(grey[..., None], 3, 2))
    assert (rgba_sample.image == (10, 20, 30)).all()


def test_real_folder(datasets: Path) -> None:
    samples = load_source(Source(datasets / "tnbc"), mpp=0.5)
    assert len(samples) == 50
    assert sum(len(sample.types) - 1 for sample in samples) == 4024
    assert {sample.image.shape for sample in samples} == {(256, 256, 3)}
