"""What all formats have in common, on small datasets in their published forms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.datasets import COMMON_TYPES, FORMATS, Sample, Source, load_source
from napari_nucleus.datasets.formats.files import Layout
from napari_nucleus.datasets.loading import find_format
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from tests.datasets.published import PUBLISHED, Truth, save_text

LAYOUTS = sorted(PUBLISHED)
MPP = {"conic": 0.5, "lizard": 0.5, "nucls": 0.2, "nuinsseg": 0.15}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(tmp_path: Path, layout: str) -> Path:
    return tmp_path / "data" / layout


@pytest.fixture
def truths(root: Path, layout: str) -> list[Truth]:
    return sorted(PUBLISHED[layout][1](root), key=lambda truth: (truth.part, truth.name))


@pytest.fixture
def name(layout: str) -> str:
    return PUBLISHED[layout][0]


def whole(root: Path, name: str) -> Source:
    """All parts of a dataset."""
    return Source(root, parts=FORMATS[name].parts)


def same_nuclei(found: np.ndarray, true: np.ndarray) -> dict[int, int]:
    """Return the found number by the true one, of label images that differ in numbers alone."""
    pairs = np.unique(np.stack([true.ravel(), found.ravel()]), axis=1).T.tolist()
    numbers = {int(a): int(b) for a, b in pairs}
    assert len(pairs) == len(numbers) == len(set(numbers.values()))
    assert numbers[0] == 0
    return numbers


def check(sample: Sample, truth: Truth, types: Sequence[str], learned: dict[str, str]) -> None:
    assert np.array_equal(sample.image, truth.image)
    numbers = same_nuclei(sample.labels, truth.labels)
    assert sorted(numbers.values()) == list(range(len(sample.types)))
    for true, own in enumerate(truth.classes, 1):
        to = learned.get(own, own)
        index = types.index(to) + 1 if to in types else UNKNOWN
        assert sample.types[numbers[true]] == index
    assert sample.types[0] == 0
    assert np.flatnonzero(sample.doubtful).tolist() == [numbers[i] for i in truth.doubtful]
    assert (sample.ignored is None) == (truth.ignored is None)
    if sample.ignored is not None and truth.ignored is not None:
        assert np.array_equal(sample.ignored, truth.ignored)


def test_images_nuclei_classes_and_splits(root: Path, truths: list[Truth], name: str) -> None:
    types = FORMATS[name].types or ("dark", "pale")
    samples = load_source(whole(root, name), types)
    assert [(s.name, s.part) for s in samples] == [(t.name, t.part) for t in truths]
    for sample, truth in zip(samples, truths, strict=True):
        assert (sample.dataset, sample.mpp) == (root.name, MPP.get(name, 0.25))
        check(sample, truth, types, {})


def test_classes_are_learned_as_common_types(root: Path, truths: list[Truth], name: str) -> None:
    samples = load_source(whole(root, name), COMMON_TYPES)
    for sample, truth in zip(samples, truths, strict=True):
        check(sample, truth, COMMON_TYPES, dict(FORMATS[name].common))


def test_only_training_parts_are_read_where_none_are_named(
    root: Path, truths: list[Truth], name: str
) -> None:
    parts = FORMATS[name].training_parts or ("",)
    expected = [truth.name for truth in truths if truth.part in parts]
    assert [sample.name for sample in load_source(Source(root))] == expected


def test_format_is_told_by_the_layout_alone(root: Path, truths: list[Truth], name: str) -> None:
    layout = Layout.of(root)
    assert [f.name for f in FORMATS.values() if f.matches(layout)] == [name]
    assert find_format(Source(root), layout) is FORMATS[name]
    other = "folder" if name != "folder" else "tnbc"
    with pytest.raises(UserError, match=r"has no"):
        load_source(Source(root, format=other))


def test_missing_annotation_is_told(root: Path, truths: list[Truth], name: str) -> None:
    file = truths[0].file
    file.unlink()
    with pytest.raises(UserError) as error:
        load_source(whole(root, name))
    message = str(error.value)
    assert (
        file.stem in message
        or "no known format" in message
        or "no masks.npy of the same fold" in message
    )


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00 \x00 no", b"<a><b></a>", b"\xff\xfe\0"]
)
def test_damaged_annotation_is_told_in_a_line(
    root: Path, truths: list[Truth], name: str, content: bytes
) -> None:
    truths[0].file.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_source(whole(root, name))
    assert truths[0].file.name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layout",  # outlines fit any image, and arrays have tests of their own
    ["folder", "consep", "kumar_mat", "cpm15", "tnbc", "cryonuseg", "nuinsseg", "lizard"],
    indirect=True,
)
def test_annotation_of_another_image_is_told(root: Path, truths: list[Truth], name: str) -> None:
    for file in root.rglob("*"):
        is_image = file.suffix in (".png", ".tif") and "label" not in file.parent.name
        if is_image and not file.parent.name.startswith("GT"):
            Image.fromarray(np.zeros((20, 32, 3), np.uint8)).save(file)
    with pytest.raises(
        UserError, match=r"has .* of 32 x 24 px, its image 32 x 20: they must match"
    ):
        load_source(whole(root, name))


def test_folder_that_is_none_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x is not a folder"):
        load_source(Source(tmp_path / "x"))
    save_text(tmp_path / "notes.txt", "")
    with pytest.raises(
        UserError, match=r"no known format.*folder, qupath, result, consep, pannuke"
    ):
        load_source(Source(tmp_path))
    for name in FORMATS:
        with pytest.raises(UserError, match="has no"):
            load_source(Source(tmp_path, format=name))


def test_layout_of_two_formats_is_told(tmp_path: Path) -> None:
    PUBLISHED["folder"][1](tmp_path)
    PUBLISHED["tnbc"][1](tmp_path)
    with pytest.raises(UserError, match=r"several formats \(folder, tnbc\): set the format"):
        load_source(Source(tmp_path))
    assert len(load_source(Source(tmp_path, format="folder"))) == 2


def test_unknown_format_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown format 'pannuk': did you mean 'pannuke'"):
        load_source(Source(tmp_path, format="pannuk"))
