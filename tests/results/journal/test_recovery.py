"""What is left when a process is killed, the disk is full or another window is there."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import ResultWriter, open_result
from napari_nucleus.results.journal import lock
from napari_nucleus.results.journal.reviewed import reviewed_regions
from tests.edits.folder import RUN, TYPES, check_same, open_session, snapshot, squares, write_result

LABELS = squares(600, 58)  # two levels, two chunks
ROOT = Path(__file__).parents[3]


def edit(session: EditSession, steps: int = 7) -> None:
    """Make the first of seven changes; the first, third, sixth and last write labels."""
    changes = [
        lambda: session.apply(operations.split, [(22, 0), (22, 40)]),
        lambda: session.apply(annotations.rename_type, "other", "rest"),
        lambda: session.apply(
            operations.delete, [60, 129, 130]
        ),  # 129 and 130 lie across the border of the chunks
        lambda: session.apply(annotations.mark_reviewed, (0, 0, 50, 50)),
        lambda: session.apply(operations.reclassify, [1, 2], "spindle"),
        lambda: session.apply(operations.add, np.ones((5, 5), bool), 14, 14, "rest"),
        session.undo,
    ]
    for change in changes[:steps]:
        change()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_result(tmp_path / "slide.nucleus", LABELS).path


def killed(path: Path) -> Path:
    """Return a copy of a folder as it would be if the process were killed now."""
    return Path(shutil.copytree(path, path.with_name(f"{path.stem}-killed.nucleus")))


def cut(path: Path, length: int) -> None:
    """Take the last bytes off the journal."""
    journal = path / "edits.jsonl"
    journal.write_bytes(journal.read_bytes()[:-length])


def test_a_session_opens_where_it_was_closed(path: Path) -> None:
    with open_session(path) as session:
        edit(session)
        before = snapshot(session)
    with open_session(path) as session:
        assert not session.warning
        check_same(snapshot(session), before)


def test_undo_across_a_save(path: Path) -> None:
    with open_session(path) as session:
        start = snapshot(session)
        edit(session)
        end = snapshot(session)
        session.save()
        session.undo()
        session.undo()
        session.save()
    for _ in range(3):
        with open_session(path) as session:
            session.undo()
    with open_session(path) as session:
        now = snapshot(session)
        assert (now.undo, now.redo) == ("", "split")
        check_same(now._replace(redo=""), start)
        for _ in range(5):
            session.redo()
        check_same(snapshot(session), end)
    with open_session(path) as session:
        check_same(snapshot(session), end)


CRASH = """
import os, signal, sys
from pathlib import Path
from napari_nucleus.results.journal.pixels import PixelChange
from tests.edits.folder import open_session
from tests.results.journal.test_recovery import edit

writes, write = int(sys.argv[2]), PixelChange.write

def write_or_die(change, levels):
    global writes
    if writes == 0:
        write(change, levels[:1])  # half done: the other level has the old labels
        os.kill(os.getpid(), signal.SIGKILL)
    writes -= 1
    write(change, levels)

session = open_session(Path(sys.argv[1]))
session.save()
PixelChange.write = write_or_die
edit(session)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize(
    ("writes", "steps"), [(1, 3), (3, 7), (9, 7)], ids=["in delete", "in undo", "after all"]
)
def test_nothing_is_lost_when_the_process_is_killed(path: Path, writes: int, steps: int) -> None:
    """What the journal has been told is done, though the labels were not written to the end."""
    with open_session(write_result(path.with_name("other.nucleus"), LABELS).path) as session:
        edit(session, steps)
        expected = snapshot(session)
    command = [sys.executable, "-c", CRASH, str(path), str(writes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr

    copy = killed(path)
    result = open_result(copy)  # whoever opens it first brings it in order
    np.testing.assert_array_equal(result.read_labels(0, 0, *LABELS.shape[::-1]), expected.labels)
    np.testing.assert_array_equal(result.levels[1][:], expected.labels[::2, ::2])
    assert result.table().equals(expected.table)
    with open_session(path) as session:
        assert not session.read_only  # the lock went with the process
        assert not session.warning
        check_same(snapshot(session), expected)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("length", [1, 5, 60])
def test_the_end_of_the_journal_is_cut(path: Path, length: int, saved: bool) -> None:
    """The last line does not count, though the labels were written; what is saved stays."""
    with open_session(path) as session:
        edit(session, 5)
        before = snapshot(session)
        session.apply(operations.split, [(38, 0), (38, 15)])
        after = snapshot(session)
        if saved:
            session.save()
        copy = killed(path)
    cut(copy, length)
    with open_session(copy) as session:
        assert ("is truncated" if saved else "is incomplete") in session.warning
        if saved:
            check_same(snapshot(session), after._replace(undo=""))
        else:
            check_same(snapshot(session), before)
        session.apply(operations.delete, [5])
        now = snapshot(session)
        session.undo()
        session.redo()
        with open_session(killed(copy)) as other:
            check_same(snapshot(other), now)
    with open_session(copy) as session:
        assert not session.warning
        check_same(snapshot(session), now)


@pytest.mark.parametrize("word", ["undo", "redo"])
def test_a_step_back_or_forth_is_cut(path: Path, word: str) -> None:
    """Several were undone, so the labels differ from what the lines before say."""
    with open_session(path) as session:
        for x in (6, 22, 38):
            session.apply(operations.split, [(x, 0), (x, 15)])
        session.undo()
        if word == "redo":
            session.undo()
        before = snapshot(session)
        getattr(session, word)()
        copy = killed(path)
    cut(copy, 4)
    with open_session(copy) as session:
        assert session.warning
        check_same(snapshot(session), before)


def test_replay_is_idempotent(path: Path) -> None:
    """The table was saved, but its number of lines is that of the save before."""
    with open_session(path) as session:
        edit(session, 4)
        session.save()
        early = pq.read_schema(path / "nuclei.parquet").metadata
        session.apply(operations.delete, [7])
        session.apply(operations.split, [(38, 0), (38, 15)])
        session.undo()
        expected = snapshot(session)
    table = pq.read_table(path / "nuclei.parquet").replace_schema_metadata(early)
    pq.write_table(table, path / "nuclei.parquet")
    with open_session(path) as session:
        check_same(snapshot(session), expected)


def test_a_second_window_reads_only(path: Path) -> None:
    with open_session(path) as first:
        first.apply(operations.delete, [1])
        second = open_session(path)
        assert "another window" in second.read_only
        check_same(snapshot(second), snapshot(first))
        for change in (
            lambda: second.apply(operations.delete, [2]),
            lambda: second.apply(annotations.add_type, "new"),
            second.undo,
        ):
            with pytest.raises(UserError, match="another window"):
                change()
        second.close()
        first.apply(operations.delete, [2])  # the second has not let the lock go
        assert open_session(path).read_only
    with open_session(path) as third:
        assert not third.read_only
        assert third.counts()["nuclei"] == LABELS.max() - 2
    with pytest.raises(UserError, match="is closed"):
        third.apply(operations.delete, [3])


def test_a_folder_that_cannot_be_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("napari_nucleus.edits.session.try_lock", refuse)
    with open_session(path) as session:
        assert "cannot be written to (Permission denied)" in session.read_only
        assert session.counts()["nuclei"] == LABELS.max()


def test_a_result_is_not_replaced_while_it_is_corrected(path: Path) -> None:
    with open_session(path):
        assert lock.is_locked(path)
        with pytest.raises(UserError, match="being corrected in another window"):
            ResultWriter(path, LABELS.shape, None, TYPES, RUN)
    assert not lock.is_locked(path)
    write_result(path, LABELS)


def test_a_disk_that_is_full_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal found room, the labels did not."""
    told: list[Changed] = []
    with open_session(path) as session:
        start = snapshot(session)
        session.changed.append(told.append)

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(zarr.Array, "__setitem__", fail)
            with pytest.raises(UserError, match="No space left"):
                session.apply(operations.delete, [9])
            assert [change.labels.tolist() for change in told] == [[9]]  # it is done all the same
            assert not (session.read_labels(0, 0, *LABELS.shape[::-1]) == 9).any()
            with pytest.raises(UserError, match="No space left"):
                session.apply(operations.delete, [10])
            with pytest.raises(UserError, match="No space left"):
                session.save()
        session.apply(operations.delete, [10])
        assert not np.isin([9, 10], session.read_labels(0, 0, *LABELS.shape[::-1])).any()
        session.undo()
        session.undo()
        check_same(snapshot(session)._replace(redo=""), start)


def test_a_table_that_cannot_be_saved_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(path)
    edit(session)
    expected = snapshot(session)
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(pq, "write_table", fail)
        with pytest.raises(UserError, match="No space left"):
            session.close()
    with open_session(path) as session:
        assert not session.read_only
        check_same(snapshot(session), expected)


def test_what_is_recorded_is_on_the_disk_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal before the labels, and the table before it takes the old one's place."""
    events: list[str] = []

    def watch(owner: object, name: str, event: str) -> None:
        step = getattr(owner, name)

        def taken(*arguments: object) -> object:
            events.append(event)
            return step(*arguments)

        monkeypatch.setattr(owner, name, taken)

    watch(os, "fsync", "on the disk")
    watch(zarr.Array, "__setitem__", "labels")
    with open_session(path) as session:
        for change in (lambda: session.apply(operations.delete, [9]), session.undo, session.redo):
            events.clear()
            change()
            assert events[0] == "on the disk"
            assert set(events[1:]) == {"labels"}
        watch(os, "replace", "replaced")
        events.clear()
        session.save()
        assert events == ["on the disk", "replaced"]


def test_the_journal_was_thrown_away(path: Path) -> None:
    """What was saved stays, and new corrections count from there."""
    with open_session(path) as session:
        edit(session, 4)
        expected = snapshot(session)
    (path / "edits.jsonl").unlink()
    with open_session(path) as session:
        assert "cannot be undone" in session.warning
        check_same(snapshot(session), expected._replace(undo=""))
        session.apply(operations.delete, [7])
        expected = snapshot(session)
    assert reviewed_regions(path) == [(0, 0, 50, 50)]
    with open_session(path) as session:
        check_same(snapshot(session), expected)
        session.undo()
        assert not session.can_undo
