from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nucleus.datasets import Source, find_types, load_source, read_labels, read_types
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


def discs(numbers: list[int], columns: int = 3) -> np.ndarray:
    """Return discs with these numbers, apart from one another."""
    y, x = np.mgrid[:20, :20] - 9.5
    disc = x**2 + y**2 < 7.5**2
    tiles = [np.where(disc, number, 0) for number in numbers]
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows).astype(np.uint16)


@pytest.mark.parametrize(
    ("numbers", "areas"),
    [
        ([255] * 9, "1 number.* for 9 separate areas"),
        ([1] * 9, "1 number.* for 9 separate areas"),
        ([255, 255, 0], "1 number.* for 2 separate areas"),
        ([1, 1, 1, 1, 2, 2, 2, 3, 3], "3 number.* for 9 separate areas"),
        ([1, 1, 1, 1, 1, 1, 1, 2, 3], "3 number.* for 9 separate areas"),
    ],
    ids=str,
)
def test_masks_are_refused(folder: Path, numbers: list[int], areas: str) -> None:
    mask = discs(numbers)
    tifffile.imwrite(folder / "labels" / "a.tif", mask)
    Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(folder / "images" / "a.png")
    message = f"a.tif looks like a mask, not a label image: {areas}. Give every nucleus"
    with pytest.raises(UserError, match=message):
        load_source(Source(folder))
    with pytest.raises(UserError, match=message):
        read_labels(folder / "labels" / "a.tif")


@pytest.mark.parametrize(
    "numbers", [[255, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 1, 2, 3, 3, 4], [0, 0, 0]], ids=str
)
def test_labels_are_not_taken_for_masks(tmp_path: Path, numbers: list[int]) -> None:
    """A nucleus may be in two pieces, and have crumbs far from it."""
    labels = discs(numbers)
    labels[:3:2, ::4] = labels.max()
    tifffile.imwrite(tmp_path / "a.tif", labels)
    assert read_labels(tmp_path / "a.tif")[0].max() == len(set(numbers) - {0})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_types_are_text(tmp_path: Path, separator: str, encoding: str) -> None:
    names = ["NA", "None", "null", "nan", "1", "01", "True", "größer", "=1+1", "'s"]
    rows = [f"{i},{name} ,x" for i, name in enumerate(names, 1)]
    text = "\r\n".join(["label, type,note", *rows, "99,,x", ",tumour,x"])
    (tmp_path / "a.csv").write_bytes(text.replace(",", separator).encode(encoding))
    types = read_types(tmp_path / "a.csv")
    assert types.to_dict() == dict(enumerate(names, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,class\n1,a", "has no columns label,type: save it as CSV with commas, in UTF-8"),
        ("label|type\n1|a", "has no columns label,type"),
        ("", "has no columns label,type"),
        ("label,type\none,a", "cannot be read as a table with columns label,type"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_types(tmp_path / "a.csv")


def test_images_of_one_stem_are_refused(folder: Path) -> None:
    Image.new("RGB", (80, 60)).save(folder / "images" / "a.jpg")
    with pytest.raises(UserError, match=r"images has both a\.jpg and a\.png, which would share"):
        load_source(Source(folder))


def test_hidden_files_are_ignored(folder: Path) -> None:
    for name in ("images/._a.png", "labels/._a.tif", "labels/._a.csv", "images/.a.tif"):
        (folder / name).write_bytes(b"\0\5\x16\7Mac OS X")
    assert [sample.name for sample in load_source(Source(folder))] == ["a", "b"]
    assert find_types([Source(folder)]) == ("dark", "pale")


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
