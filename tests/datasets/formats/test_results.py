"""Result folders with regions that were reviewed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from napari_nucleus.datasets import Source, find_types, load_source
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.nucleus_types import UNKNOWN
from napari_nucleus.results import ResultWriter
from napari_nucleus.results.journal import state
from napari_nucleus.results.journal.state import read_nuclei
from napari_nucleus.slides import open_slide, slide_from_arrays
from tests.edits.folder import TYPES, squares

LABELS = squares(48, 80)
FIRST, SECOND = (0, 0, 40, 30), (50, 10, 80, 48)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (48, 80, 3), np.uint8)
    image = tmp_path / "slide.tif"
    tifffile.imwrite(image, pixels)
    run = {
        "source": {"path": str(image), "sha256": open_slide(image).digest()},
        "model": {"name": "tiny", "sha256": "cd", "mpp": 0.5, "types": list(TYPES)},
        "options": {},
        "device": "cpu",
    }
    path = tmp_path / "out" / "slide.nucleus"
    with ResultWriter(path, LABELS.shape, 0.5, {**TYPES, "nucleus": "#2ec4ff"}, run) as writer:
        writer.write_labels(0, 0, LABELS)
        table = measure(LABELS, pixels, 0.5)
        names = np.array([*TYPES, "nucleus"])[table["label"] % 4]
        writer.append(table.assign(type=names, type_prob=0.75))
        writer.finish(seconds={})
    return path


def journal(path: Path, **edit: object) -> None:
    """Add a line to the journal."""
    file = path / "edits.jsonl"
    number = len(file.read_text().splitlines()) + 1
    line = {"n": number, "time": "2025-11-21T12:00:00+00:00", **edit}
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def review(path: Path, *regions: tuple[int, int, int, int]) -> None:
    journal(path, edit="mark", reviewed=[[], regions])


def test_reviewed_regions_are_samples(path: Path) -> None:
    review(path, FIRST, SECOND)
    image = tifffile.imread(path.parents[1] / "slide.tif")
    for source in (Source(path), Source(path.parent)):
        samples = load_source(source, tuple(TYPES))
        assert [sample.name for sample in samples] == ["slide_x0_y0", "slide_x50_y10"]
        for sample, (x0, y0, x1, y1) in zip(samples, (FIRST, SECOND), strict=True):
            place = (slice(y0, y1), slice(x0, x1))
            assert np.array_equal(sample.image, image[place])
            ids, true = np.unique(LABELS[place], return_inverse=True)
            assert np.array_equal(sample.labels, true.reshape(sample.labels.shape))
            # every fourth nucleus has no type
            given = [i % 4 + 1 if i % 4 < 3 else UNKNOWN for i in ids[1:]]
            assert sample.types.tolist() == [0, *given]
            assert sample.mpp == 0.5
    assert find_types([Source(path)]) == tuple(sorted(TYPES))


def test_the_table_is_read_once_for_all_regions(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Sequence[str] | None] = []

    def watch(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
        read.append(columns)
        return read_nuclei(folder, columns)

    monkeypatch.setattr(state, "read_nuclei", watch)
    review(path, FIRST, SECOND)
    assert len(load_source(Source(path), tuple(TYPES))) == 2
    assert set(read) == {("label", "type")}
    assert len(read) <= 2  # once to count the types


def test_types_given_since_the_table_was_saved_count(path: Path) -> None:
    review(path, FIRST)
    label = int(LABELS[5, 5])
    kinds = (list(TYPES)[label % 4], "other")
    journal(path, edit="type", rows=[{"label": [label], "type": [kind]} for kind in kinds])
    (sample,) = load_source(Source(path), ["other"])
    assert sample.types[sample.labels[5, 5]] == 1


def test_result_that_nobody_reviewed_is_no_dataset(path: Path) -> None:
    with pytest.raises(UserError, match="read as result, has no annotated image"):
        load_source(Source(path))


def test_image_that_moved_is_told(path: Path) -> None:
    review(path, FIRST)
    image = path.parents[1] / "slide.tif"
    image.rename(image.with_name("moved.tif"))
    with pytest.raises(UserError, match=r"neither there nor beside it: put the image back there"):
        load_source(Source(path))
    for other in ((10, 10, 3), (48, 80, 3)):  # the latter of the same size
        tifffile.imwrite(image, np.zeros(other, np.uint8))
        with pytest.raises(UserError, match=r"slide\.tif is not the image that .* was made from"):
            load_source(Source(path))


def test_regions_that_overlap_are_one_sample(path: Path) -> None:
    """So that no nucleus is both learned from and judged by."""
    first, second, apart = (0, 0, 30, 30), (20, 20, 50, 40), (60, 0, 80, 48)
    review(path, first, apart, second)
    joint, other = load_source(Source(path))
    assert (joint.name, other.name) == ("slide_x0_y0", "slide_x60_y0")
    seen = np.zeros((40, 50), bool)
    seen[:30, :30] = seen[20:40, 20:50] = True
    assert np.array_equal(joint.labels > 0, seen & (LABELS[:40, :50] > 0))
    assert joint.ignored is not None
    assert np.array_equal(joint.ignored, ~seen)
    assert other.ignored is None


def test_image_may_be_given(path: Path) -> None:
    review(path, FIRST)
    (path.parents[1] / "slide.tif").unlink()
    pixels = np.full((48, 80, 3), 7, np.uint8)
    (sample,) = load_source(Source(path, image=slide_from_arrays([pixels])))
    assert np.array_equal(sample.image, pixels[:30, :40])
    assert sample.mpp == 0.5
