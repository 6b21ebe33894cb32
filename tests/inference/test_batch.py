"""Many images: each is done once, whatever becomes of the others."""

from pathlib import Path

import pytest
import tifffile

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.inference.batch import Outcome, segment_many
from napari_nucleus.inference.pipeline import Progress
from napari_nucleus.results.unfinished import finished_tiles
from napari_nucleus.slides import open_slide
from tests.tissue import Decoder, tiled, tissue


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Return three images of four tiles each, the second of which cannot be read."""
    files = []
    for name, seed in (("one", 1), ("two", 2), ("three", 3)):
        files.append(tmp_path / name / "slide.tif")  # stems are equal
        files[-1].parent.mkdir()
        pixels = tissue(120, 120, seed).coded()
        tifffile.imwrite(
            files[-1],
            pixels,
            photometric="rgb",
            resolution=(40_000, 40_000),
            resolutionunit="CENTIMETER",
        )
    files[1].write_bytes(b"not an image")
    return files


def network() -> Decoder:
    decoder = tiled(Decoder(), 64, 32)
    decoder.sha256 = "of its file"
    return decoder


def outcomes(images: list[Path], out: Path | None = None) -> list[Outcome]:
    return [one for one in segment_many(images, out, network()) if isinstance(one, Outcome)]


def test_each_image_has_a_result_or_a_reason(images: list[Path]) -> None:
    steps = list(segment_many(images, None, network()))
    assert [one for one in steps if isinstance(one, Path)] == images
    one, two, three = (one for one in steps if isinstance(one, Outcome))
    assert [one.image, two.image, three.image] == images
    for done in (one, three):
        assert done.error is None
        assert done.result is not None
        assert done.result.path == done.image.with_suffix(".nucleus")
        assert done.csv == done.image.with_suffix(".csv")
        assert done.csv.exists()
        assert done.result.run["counts"]["nuclei"] > 5
    assert isinstance(two.error, UserError)
    assert two.result is None


def test_equal_stems_in_one_folder_stay_apart(images: list[Path], tmp_path: Path) -> None:
    one, _, three = outcomes(images, tmp_path / "out")
    assert one.csv == tmp_path / "out" / "slide.csv"
    assert three.csv == tmp_path / "out" / "slide-2.csv"
    assert three.reason == "slide.nucleus is of another image"
    again = outcomes(images[::-1], tmp_path / "out")
    assert [one.csv for one in again] == [three.csv, None, one.csv]


def test_what_is_finished_is_left_as_it_is(images: list[Path]) -> None:
    """Also if it was corrected since; a table that is missing is written."""
    first, _, last = outcomes(images)
    assert first.result is not None
    assert first.csv is not None
    assert last.csv is not None
    with EditSession(first.result.path, open_slide(images[0])) as session:
        session.apply(operations.delete, [1])
    first.csv.write_text("of the user")
    last.csv.unlink()
    again, _, other = outcomes(images)
    assert again.was_finished
    assert other.was_finished
    assert first.csv.read_text() == "of the user"
    assert last.csv.exists()
    assert sorted(one.name for one in images[0].parent.iterdir()) == [
        "slide.csv", "slide.nucleus", "slide.tif"
    ]  # fmt: skip


def test_stopped_batch_goes_on(images: list[Path]) -> None:
    (expected,) = outcomes(images[2:])
    assert expected.result is not None
    counts = expected.result.run["counts"]
    result = images[0].with_suffix(".nucleus")
    steps = segment_many(images, None, network())
    for step in steps:
        if isinstance(step, Progress) and step.done == 3:
            break
    steps.close()
    assert finished_tiles(result)[1] == 4
    assert finished_tiles(result)[0] >= 3
    again = list(segment_many(images, None, network()))
    assert not result.with_name("slide.nucleus.unfinished").exists()
    *_, last = (one for one in again if isinstance(one, Outcome))
    assert last.was_finished
    assert last.result is not None
    assert last.result.run["counts"] == counts
