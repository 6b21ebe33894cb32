"""Another segmentation on its way into a result: squares of 10 px, some of them moved."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_nucleus.edits import annotations, fill, operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.results import Result, ResultWriter
from napari_nucleus.results.journal.pixels import PixelChange
from tests.edits.folder import (
    MPP,
    RUN,
    TYPES,
    check_same,
    open_session,
    picture,
    snapshot,
    squares,
    write_result,
)
from tests.edits.test_random import Hand

HEIGHT, WIDTH = 93, 122
LABELS = squares(HEIGHT, WIDTH)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_result(tmp_path / "slide.nucleus", LABELS).path


@pytest.fixture
def session(path: Path) -> Iterator[EditSession]:
    with open_session(path) as session:
        yield session


def other(
    path: Path, labels: np.ndarray, types: Sequence[str] = ("spindle", "mitosis"), mpp: float = MPP
) -> Result:
    """Write a result of another model, whose nuclei are of its last type."""
    colors = dict.fromkeys(types, "#ff0000")
    height, width = labels.shape
    slide = picture(height, width, mpp)
    with ResultWriter(path.with_name("other.nucleus"), labels.shape, mpp, colors, RUN) as writer:
        writer.write_labels(0, 0, labels)
        table = measure(labels, slide.read(0, 0, width, height), mpp)
        writer.append(table.assign(type=types[-1], type_prob=0.5))
        return writer.finish(seconds={})


def moved(right: int, down: int = 0) -> np.ndarray:
    """Return the squares moved; numbers of those that leave the image are missing."""
    labels = np.zeros_like(LABELS)
    labels[down:, right:] = LABELS[: HEIGHT - down, : WIDTH - right]
    return labels


def labels_of(session: EditSession) -> np.ndarray:
    return session.read_labels(0, 0, WIDTH, HEIGHT)


def check_table(session: EditSession) -> None:
    """Hold the table against the measurements of all the labels."""
    pixels = picture(HEIGHT, WIDTH).read(0, 0, WIDTH, HEIGHT)
    expected = measure(labels_of(session), pixels, MPP)
    measured = session.table()[list(expected)]
    pd.testing.assert_frame_equal(measured, expected, check_dtype=False, rtol=1e-5)


def test_new_nuclei_fill_free_places(path: Path, session: EditSession) -> None:
    labels = np.zeros_like(LABELS)
    labels[3:13, 9:19] = 5  # 4 of 10 columns are nucleus 1's
    labels[19:29, 8:18] = 7  # half of it is nucleus 9's
    labels[35:45, 7:17] = 9  # 6 of 10 are nucleus 17's
    labels[51:61, 14:18] = 11  # touches none
    session.apply(fill.add_nuclei, other(path, labels))
    expected = LABELS.copy()
    for label, (top, left, right) in {49: (3, 13, 19), 50: (19, 13, 18), 51: (51, 14, 18)}.items():
        expected[top : top + 10, left:right] = label
    np.testing.assert_array_equal(labels_of(session), expected)
    check_table(session)
    new = session.rows([49, 50, 51])
    assert list(new["type"]) == ["mitosis"] * 3
    assert not new["edited"].any()
    assert session.counts()["nuclei"] == 51
    assert session.can_undo == "add nuclei"


def test_only_the_largest_part_of_a_nucleus_is_added(path: Path, session: EditSession) -> None:
    labels = np.zeros_like(LABELS)
    labels[5:8, 14:35] = 1  # 5 columns to the left of nucleus 2, 6 to the right
    labels[29:35, 0:30] = 2  # touches four nuclei and covers none
    session.apply(fill.add_nuclei, other(path, labels))
    expected = LABELS.copy()
    expected[5:8, 29:35] = 49
    expected[29:35, 0:30] = 50
    np.testing.assert_array_equal(labels_of(session), expected)
    check_table(session)


def test_what_a_person_has_done_stays(path: Path, session: EditSession) -> None:
    session.apply(operations.reclassify, [1], "other")
    session.apply(operations.accept, [2])
    session.apply(operations.delete, [3])
    session.apply(annotations.mark_reviewed, (64, 0, 90, 30))  # 5, 6, 13 and 14
    session.apply(operations.split, [(24, 80), (24, 64)])  # 34
    before, table = labels_of(session), session.table()
    session.apply(fill.segment_again, other(path, moved(2, 1)), session.done)
    after = labels_of(session)
    kept = [1, 2, 5, 6, 13, 14, 34, 49]
    for label in kept:
        np.testing.assert_array_equal(after == label, before == label)
    pd.testing.assert_frame_equal(
        session.rows(kept), table[table["label"].isin(kept)].reset_index(drop=True)
    )
    assert not after[3:13, 35:45].any()  # where 3 was
    np.testing.assert_array_equal(after[0:30, 64:90], before[0:30, 64:90])
    there = moved(2, 1)
    np.testing.assert_array_equal(after[60:, 40:] > 0, there[60:, 40:] > 0)
    assert set(np.unique(after)) - {0} == set(session.table()["label"])
    assert session.next_label == 50 + 48 - 8  # eight places are taken or stay free
    assert (session.rows(range(50, 90))["type"] == "mitosis").all()
    assert list(session.types) == [*TYPES, "mitosis"]
    assert session.types["mitosis"] not in TYPES.values()
    check_table(session)
    assert session.can_undo == "segment again"


def test_a_place_filled_again_is_not_kept_free(path: Path, session: EditSession) -> None:
    session.apply(operations.delete, [3])
    session.apply(fill.add_nuclei, other(path, np.where(LABELS == 3, LABELS, 0)))
    session.apply(fill.segment_again, other(path, LABELS), session.done)
    np.testing.assert_array_equal(labels_of(session) > 0, LABELS > 0)


def test_nuclei_outside_of_the_polygons_stay(path: Path, session: EditSession) -> None:
    polygons = [[(0, 0), (40, 0), (40, 30), (0, 30)], [(80, 62), (122, 62), (122, 93), (80, 93)]]
    new = np.where(np.arange(WIDTH) < 40, moved(1), 0)
    new[30:] = 0
    session.apply(fill.segment_again, other(path, new), session.done, polygons)
    inside = {1, 2, 3, 9, 10, 11, 38, 39, 40, 46, 47, 48}
    assert set(session.table()["label"]) & set(range(1, 49)) == set(range(1, 49)) - inside


def test_a_result_without_nuclei_clears_what_nobody_corrected(
    path: Path, session: EditSession
) -> None:
    session.apply(operations.reclassify, [7], "other")
    empty = other(path, np.zeros_like(LABELS))
    session.apply(fill.segment_again, empty, session.done)
    np.testing.assert_array_equal(labels_of(session), np.where(LABELS == 7, 7, 0))
    session.undo()
    session.apply(fill.add_nuclei, empty)
    assert session.can_undo == "reclassify"
    np.testing.assert_array_equal(labels_of(session), LABELS)


def test_another_pixel_size_is_measured_anew(path: Path, session: EditSession) -> None:
    session.apply(fill.segment_again, other(path, moved(3), mpp=0.25), session.done)
    check_table(session)


def test_another_image_is_refused(path: Path, session: EditSession) -> None:
    with pytest.raises(UserError, match="another image"):
        session.apply(fill.add_nuclei, other(path, LABELS[:50]))


def test_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 20 px, into which no nucleus fits, all is as in one."""
    found = []
    for block in (20, 2048):
        monkeypatch.setattr(fill, "_BLOCK", block)
        path = write_result(tmp_path / f"{block}" / "slide.nucleus", LABELS).path
        with open_session(path) as session:
            session.apply(operations.delete, [12, 20])
            session.apply(operations.reclassify, [1, 5, 23, 40], "other")
            session.apply(fill.segment_again, other(path, moved(4, 3)), session.done)
            session.apply(fill.add_nuclei, other(path, moved(9, 5)))
            check_table(session)
            found.append(snapshot(session))
    np.testing.assert_array_equal(found[0].labels, found[1].labels)
    pd.testing.assert_frame_equal(found[0].table, found[1].table, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_undo_and_redo_after_edits_at_random(path: Path, session: EditSession, seed: int) -> None:
    hand = Hand(session, seed)
    for round_ in range(3):
        while sum(hand.act() for _ in range(5)) < 3:
            pass
        new = other(path, moved(round_ + 2, 5 * round_ + 1))
        for again in (True, False):
            before, count = snapshot(session), len(session.done)
            if again:
                session.apply(fill.segment_again, new, session.done)
            else:
                session.apply(fill.add_nuclei, new)
            after = snapshot(session)
            check_table(session)
            if len(session.done) == count:  # nothing was free
                continue
            session.undo()
            check_same(snapshot(session)._replace(redo=before.redo), before)
            session.redo()
            check_same(snapshot(session), after)
            kept = before.table["edited"] | before.table["label"].isin(before.checked)
            for label in before.table.loc[kept, "label"]:
                np.testing.assert_array_equal(after.labels == label, before.labels == label)
    session.close()
    with open_session(path) as reopened:
        check_same(snapshot(reopened), snapshot(session))


@pytest.mark.parametrize("undone", [False, True])
def test_a_process_killed_in_between_loses_nothing(
    path: Path, session: EditSession, undone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.apply(operations.delete, [3])
    start, new = snapshot(session), other(path, moved(5, 4))
    if undone:
        session.apply(fill.segment_again, new, session.done)
    write, copy = PixelChange.write, path.with_name("killed.nucleus")

    def write_half(change: PixelChange, levels: Sequence) -> None:
        half = len(change) // 2
        runs = (change.y, change.x, change.length, change.before, change.after)
        write(PixelChange(*(values[:half] for values in runs)), levels)
        shutil.copytree(path, copy)  # as it would be if the process were killed now
        write(change, levels)

    monkeypatch.setattr(PixelChange, "write", write_half)
    if undone:
        session.undo()
    else:
        session.apply(fill.segment_again, new, session.done)
    monkeypatch.undo()
    with open_session(copy) as again:
        check_same(snapshot(again), snapshot(session))
        if not undone:
            again.undo()
        check_same(snapshot(again)._replace(redo=""), start)
