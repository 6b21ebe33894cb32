"""Files, folders and patterns that a user names."""

from pathlib import Path

import pytest

from napari_nucleus.cli.images import find_images
from tests.made_slides import halved, smooth, write_dicom, write_ome_zarr

IMAGES = ("a.png", "b.JPG", "c.ome.tif", "d[1].svs", "e.ndpi")
OTHERS = (".hidden.png", "._a.png", "a.csv", "notes.txt", "run.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*IMAGES, *OTHERS):
        (tmp_path / name).touch()
    (tmp_path / "a.nucleus").mkdir()
    (tmp_path / "a.nucleus" / "picture.png").touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "f.tiff").touch()
    return tmp_path


def named(*paths: Path) -> tuple[list[str], list[str], list[str]]:
    images, skipped, empty = find_images(paths)
    return [p.name for p in images], [p.name for p in skipped], [p.name for p in empty]


def test_folder(folder: Path) -> None:
    """Without those in it."""
    assert named(folder) == (list(IMAGES), sorted(OTHERS), [])


def test_patterns(folder: Path) -> None:
    assert named(folder / "*.png") == (["a.png"], [], [])
    assert named(folder / "?.*") == (["a.png", "b.JPG", "c.ome.tif", "e.ndpi"], SKIPPED, [])
    assert named(folder / "**" / "*.tif*") == (["c.ome.tif", "f.tiff"], [], [])
    assert named(folder / "[ab].[jJp]*") == (["a.png", "b.JPG"], [], [])
    assert named(folder / "*.bmp") == (["*.bmp"], [], [])  # told as a file that is not there


SKIPPED = ["a.csv", "a.nucleus"]


def test_name_with_brackets_is_no_pattern(folder: Path) -> None:
    assert named(folder / "d[1].svs", folder / "a.png") == (["d[1].svs", "a.png"], [], [])


def test_what_the_shell_expands(folder: Path) -> None:
    """As the pattern itself: folders in it are opened, results are not."""
    images, skipped, empty = named(*sorted(folder.glob("*")))
    assert images == ["a.png", "b.JPG", "c.ome.tif", "d[1].svs", "f.tiff", "e.ndpi"]
    assert set(skipped) == {*OTHERS, "a.nucleus"}
    assert empty == []
    quoted, *_ = named(folder / "*")
    assert quoted == images


def test_each_image_once(folder: Path) -> None:
    given = (folder / "e.ndpi", folder, folder / "*.png", folder / "deeper" / ".." / "a.png")
    assert named(*given)[0] == ["e.ndpi", "a.png", "b.JPG", "c.ome.tif", "d[1].svs"]


def test_single_file_is_taken_whatever_its_name_is(folder: Path) -> None:
    for name in (".hidden.png", "notes.txt", "none.dat"):
        assert named(folder / name) == ([name], [], [])


def test_folder_without_images(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert named(folder / "empty", folder / "deeper") == (["f.tiff"], [], ["empty"])
    assert named(folder / "a.nucleus") == ([], ["a.nucleus"], [])


def test_folders_that_are_slides(folder: Path) -> None:
    """OME-Zarr and DICOM; a file that is a coarser level of a slide is no image of its own."""
    levels = [smooth(128, 128), halved(smooth(128, 128))]
    write_ome_zarr(folder / "g.zarr", levels)
    (folder / "h").mkdir()
    files = write_dicom(folder / "h", levels, 0.25, "h")
    assert named(folder / "g.zarr") == (["g.zarr"], [], [])
    assert named(folder / "h") == (["h"], [], [])
    assert named(folder)[0] == [*IMAGES, "g.zarr", "h"]
    write_dicom(folder / "h", levels, 0.25, "k")
    assert named(folder / "h") == (["h-0.dcm", "k-0.dcm"], [], [])
    assert named(*files) == (["h-0.dcm", "h-1.dcm"], [], [])  # as the user names them


def test_what_may_not_be_read_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when it is opened."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert named(folder) == (list(IMAGES), sorted(OTHERS), [])


def test_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In quotes, the shell leaves it to the program."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert named(Path("~/*.png")) == (["a.png"], [], [])


def test_name_that_is_too_long(folder: Path) -> None:
    name = 300 * "x" + ".png"
    assert named(folder / name, folder / "a.png") == ([name, "a.png"], [], [])
