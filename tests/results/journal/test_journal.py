import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.edit import Change, Edit
from napari_nucleus.results.journal.history import History
from napari_nucleus.results.journal.journal import Journal
from napari_nucleus.results.journal.pixels import PixelChange


def mark(count: int) -> Edit:
    """An edit without pixels."""
    return Edit("mark", types=Change({"a": f"#{count - 1:06}"}, {"a": f"#{count:06}"}))


def dot(label: int) -> Edit:
    """An edit with pixels: two lines."""
    before, after = np.zeros((1, 1), int), np.full((1, 1), label)
    return Edit("dot", pixels=PixelChange.between(before, after, 0, 0))


def written(folder: Path) -> Journal:
    journal = Journal(folder)
    for edit in (mark(1), dot(7), mark(2)):
        journal.append(edit.to_json(), journal.last + 1)
    journal.append([{"undo": 4}], journal.last + 1)
    return journal


def names(folder: Path, saved: int = 0) -> tuple[list[str], list[str]]:
    history = History(Journal(folder), saved)
    return [each.name for each in history.done], [each.name for each in history.undone]


def test_lines_are_numbered_and_read_as_they_were_written(tmp_path: Path) -> None:
    journal = written(tmp_path)
    read = Journal(tmp_path)
    assert read.lines == journal.lines
    assert [line["n"] for line in read.lines] == [1, 2, 3, 4, 5]
    assert not read.torn
    assert names(tmp_path) == (["mark", "dot"], ["mark"])
    steps = [(step.name, step.types) for step in History(read, 0).since_saved()]
    second = Change({"a": "#000001"}, {"a": "#000002"})
    marks = [Change({"a": "#000000"}, {"a": "#000001"}), second, second.inverse()]
    assert steps == [("mark", marks[0]), ("dot", None), ("mark", marks[1]), ("mark", marks[2])]


def test_no_journal(tmp_path: Path) -> None:
    assert Journal(tmp_path).lines == []
    assert Journal(tmp_path).last == 0


@pytest.mark.parametrize("edit", [mark(1), dot(3)], ids=["one line", "two lines"])
def test_cut_anywhere_the_rest_is_taken(tmp_path: Path, edit: Edit) -> None:
    file = tmp_path / "edits.jsonl"
    journal = written(tmp_path)
    start = file.stat().st_size
    journal.append(edit.to_json(), journal.last + 1)
    data = file.read_bytes()
    for end in range(start + 1, len(data)):
        file.write_bytes(data[:end])
        cut = Journal(tmp_path)
        assert cut.lines == journal.lines[:5]
        assert cut.torn or cut.unfinished is not None
        assert names(tmp_path) == (["mark", "dot"], ["mark"])
        cut.append([{"redo": 4}], cut.last + 1)  # takes the place of what was cut
        assert names(tmp_path) == (["mark", "dot", "mark"], [])
        assert not Journal(tmp_path).torn


def test_pixels_whose_edit_was_cut_are_taken_back(tmp_path: Path) -> None:
    journal = written(tmp_path)
    journal.append(dot(3).to_json(), 6)
    file = tmp_path / "edits.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    (first, *rest) = History(Journal(tmp_path), 0).unsettled()
    assert (first.before.tolist(), first.after.tolist()) == ([3], [0])
    assert [change.after.tolist() for change in rest] == [[7]]  # the edit that is done last
    # Line 7 is saved, so the edit was whole once: its pixels stay.
    assert list(History(Journal(tmp_path), 7).unsettled()) == []


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"n": 2}', '{"n": "2", "undo": 1}', "\xff"])
def test_damage_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    written(tmp_path)
    file = tmp_path / "edits.jsonl"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], line.encode("latin-1"), *lines[2:]]))
    with pytest.raises(UserError, match=r"edits\.jsonl is damaged in line 2"):
        Journal(tmp_path)


@pytest.mark.parametrize("line", [{"undo": 1}, {"redo": 3}, {"undo": 99}])
def test_steps_that_do_not_follow(tmp_path: Path, line: dict[str, int]) -> None:
    journal = written(tmp_path)
    journal.append([line], 6)
    with pytest.raises(UserError, match="damaged in line 6"):
        History(Journal(tmp_path), 0)


def test_edits_that_are_damaged_are_named_when_they_are_needed(tmp_path: Path) -> None:
    Journal(tmp_path).append([{"pixels": "no base64"}, {"edit": "dot"}], 1)
    with pytest.raises(UserError, match="damaged in line 2"):
        list(History(Journal(tmp_path), 0).since_saved())


def test_lost_lines_end_what_can_be_undone(tmp_path: Path) -> None:
    journal = written(tmp_path)
    journal.append(mark(3).to_json(), 8)  # 6 and 7 are missing
    assert names(tmp_path) == (["mark"], [])
    journal.append(mark(4).to_json(), 9)
    assert names(tmp_path) == (["mark", "mark"], [])
    assert names(tmp_path, saved=9) == (["mark", "mark"], [])
    assert names(tmp_path, saved=10) == ([], [])  # the table knows more than the journal


def test_only_what_came_after_the_save_is_new(tmp_path: Path) -> None:
    written(tmp_path)
    new = [edit.name for edit in History(Journal(tmp_path), 3).since_saved()]
    assert new == ["mark", "mark"]  # done and undone
    assert list(History(Journal(tmp_path), 5).since_saved()) == []


def test_a_full_disk_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(tmp_path)
    data = (tmp_path / "edits.jsonl").read_bytes()

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(UserError, match="No space left"):
            journal.append(dot(1).to_json(), 6)
    assert (tmp_path / "edits.jsonl").read_bytes() == data
    journal.append(dot(1).to_json(), 6)
    assert names(tmp_path) == (["mark", "dot", "dot"], [])


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "slide.nucleus"
    folder.mkdir()
    journal = written(folder)
    folder.rename(tmp_path / "moved.nucleus")
    with pytest.raises(UserError, match="Cannot write"):
        journal.append([{"redo": 4}], 6)


def test_every_line_is_json_on_its_own(tmp_path: Path) -> None:
    rows = {"label": np.array([5]), "type": np.array(["é\n"], object), "x": np.array([np.nan])}
    Journal(tmp_path).append(Edit("paint", rows=Change(rows, rows)).to_json(), 1)
    (line,) = (tmp_path / "edits.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["rows"][0] == {"label": [5], "type": ["é\n"], "x": [None]}
