import errno
import os
import sys
from pathlib import Path

import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.files import by_stem, replacing, visible_files


def test_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    with replacing(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def write_half(path: Path, error: Exception) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("a bug"), ZeroDivisionError),
        (OSError(errno.ENOSPC, "No space left on device"), UserError),
    ],
)
def test_failure_leaves_the_earlier_file(
    tmp_path: Path, error: Exception, told: type[Exception]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("earlier")
    with pytest.raises(told, match=r"a bug|No space left"):
        write_half(path, error)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="another folder"), replacing(tmp_path / "file" / "a.csv"):
        raise AssertionError("never entered")


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "._a.csv", ".c.csv", "d.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in visible_files(tmp_path, "*.csv")] == ["a.csv", "b.csv"]


def test_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "a.tif", tmp_path / "b.tif"
    assert by_stem([two, one]) == {"b": two, "a": one}
    with pytest.raises(UserError, match=r"has both a\.tif and a\.nucleus, which would share"):
        by_stem([one, two, tmp_path / "a.nucleus"])


def test_partial_files_have_names_of_their_own(tmp_path: Path) -> None:
    theirs = tmp_path / "table.csv.part"
    theirs.write_text("a download")
    with replacing(tmp_path / "table.csv") as one, replacing(tmp_path / "table.csv") as other:
        one.write_text("one")
        other.write_text("other")
    assert theirs.read_text() == "a download"
    assert (tmp_path / "table.csv").read_text() == "one"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.ENAMETOOLONG, "choose a shorter one"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "you may not write there"),
        (errno.ENOTDIR, "a file is where a folder should be"),
        (errno.EINVAL, "characters that are not allowed"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_advice_fits_the_error(tmp_path: Path, number: int, advice: str) -> None:
    with pytest.raises(UserError, match=advice) as told:
        write_half(tmp_path / "table.csv", OSError(number, "…"))
    assert ("free some space" in str(told.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


def test_real_errors(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, advice in {
        tmp_path / ("x" * 300): "choose a shorter one",
        tmp_path / "folder": "folder is not a file: choose another name",
        tmp_path / "file" / "table.csv": "a file is where a folder should be",
    }.items():
        with pytest.raises(UserError, match=advice), replacing(path) as part:
            part.write_text("whole")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a file"), replacing(tmp_path / "pipe"):
        raise AssertionError("never entered")
    assert (tmp_path / "pipe").is_fifo()
