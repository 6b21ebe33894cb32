"""Corrections against geometry that is known by construction: squares of 10 px, 16 apart."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.review_queue import uncertain_nuclei
from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.results import open_result
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.slides import slide_from_arrays
from napari_nucleus.slides.tiles import Box
from tests.edits.folder import MPP, TYPES, open_session, picture, squares, write_result

HEIGHT, WIDTH = 93, 122  # 6 rows of 8 nuclei, cut off at the lower and right border
LABELS = squares(HEIGHT, WIDTH)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_result(tmp_path / "slide.nucleus", LABELS).path


@pytest.fixture
def session(path: Path) -> Iterator[EditSession]:
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        yield session


def labels_of(session: EditSession) -> np.ndarray:
    return session.read_labels(0, 0, WIDTH, HEIGHT)


def check_table(session: EditSession, touched: set[int]) -> None:
    """Hold the table against the measurements of all the labels, and what is edited."""
    expected = measure(labels_of(session), picture(HEIGHT, WIDTH).read(0, 0, WIDTH, HEIGHT), MPP)
    table = session.table()
    measured = table[list(expected)]
    pd.testing.assert_frame_equal(measured, expected, check_dtype=False, rtol=1e-5)
    assert set(table.loc[table["edited"], "label"]) == touched


def row(session: EditSession, label: int) -> pd.Series:
    return session.rows([label]).iloc[0]


def test_the_fixture_is_what_it_says() -> None:
    assert LABELS.max() == 48
    assert (LABELS[3:13, 19:29] == 2).all()
    assert (LABELS[83:93, 115:122] == 48).all()  # the last one is cut off


def test_split(session: EditSession) -> None:
    before = row(session, 10)
    session.apply(
        operations.split, [(22, 0), (22, 40)]
    )  # across nuclei 2, 10 and the space between
    expected = LABELS.copy()
    # To the left of column 22 are 3 of 10 columns.
    for label, new, top in ((2, 49, 3), (10, 50, 19)):
        expected[top : top + 10, 19:22] = new
        assert set(np.unique(labels_of(session)[top : top + 10, 22])) <= {label, new}
    labels = labels_of(session)
    expected[:, 22] = labels[:, 22]
    np.testing.assert_array_equal(labels, expected)
    check_table(session, {2, 10, 49, 50})
    for piece in (10, 50):
        assert row(session, piece)["type"] == before["type"]
        assert row(session, piece)["type_prob"] == before["type_prob"]
    assert session.counts()["nuclei"] == 50
    assert session.next_label == 51


def test_a_line_that_ends_in_a_nucleus_splits_nothing(session: EditSession) -> None:
    with pytest.raises(UserError, match="splits no nucleus"):
        session.apply(operations.split, [(23, 0), (23, 8)])
    with pytest.raises(UserError, match="splits no nucleus"):
        session.apply(operations.split, [(15, 0), (15, 80)])
    with pytest.raises(UserError, match="splits no nucleus"):
        session.apply(operations.split, [(23, 5)])
    assert not session.can_undo


def test_a_line_may_leave_the_image(session: EditSession) -> None:
    session.apply(operations.split, [(118, 60), (118, 200)])
    assert session.counts()["nuclei"] == 50  # 40 and 48
    check_table(session, {40, 48, 49, 50})


def test_merge_nuclei_that_touch(session: EditSession) -> None:
    session.apply(operations.split, [(23, 0), (23, 15)])
    session.apply(operations.merge, [49, 2])
    np.testing.assert_array_equal(labels_of(session), LABELS)
    check_table(session, {2})


def test_merge_takes_label_and_type_of_the_largest(session: EditSession) -> None:
    painted = labels_of(session)
    painted[3:13, 13:19] = np.where(painted[3:13, 13:19] == 0, 2, 0)  # 2 grows up to 1
    session.apply(operations.paint, 0, 0, painted, "other")
    type_name = row(session, 2)["type"]
    assert type_name != row(session, 1)["type"]
    session.apply(operations.merge, session.canvas.along([(8, 8), (24, 8)]))
    assert (labels_of(session)[3:13, 3:29] == 2).all()
    assert row(session, 2)["type"] == type_name
    assert not len(session.rows([1]))
    check_table(session, {2})


def test_merge_fills_a_small_gap(session: EditSession) -> None:
    erased = np.zeros((10, 2), int)
    session.apply(
        operations.paint, 22, 3, erased, "other"
    )  # columns 22 and 23 of nucleus 2, but still one label
    session.apply(operations.split, [(24, 0), (24, 15)])
    session.apply(operations.merge, [2, 49])
    labels = labels_of(session)
    assert (labels[4:12, 19:29] == 2).all()
    assert np.count_nonzero(labels == 2) >= 8 * 10 + 2 * 8
    check_table(session, {2})


def test_what_cannot_be_merged(session: EditSession) -> None:
    with pytest.raises(UserError, match="do not touch"):
        session.apply(operations.merge, [1, 2])  # 6 px = 3 µm apart
    with pytest.raises(UserError, match="at least two"):
        session.apply(operations.merge, [1])
    with pytest.raises(UserError, match="no nucleus 99"):
        session.apply(operations.merge, [1, 99])
    with pytest.raises(UserError, match="No nucleus is selected"):
        session.apply(operations.merge, [])


def test_delete(session: EditSession) -> None:
    session.apply(operations.delete, [48, 3, 3])
    np.testing.assert_array_equal(labels_of(session), np.where(np.isin(LABELS, [3, 48]), 0, LABELS))
    check_table(session, set())
    assert session.counts()["nuclei"] == 46
    with pytest.raises(UserError, match="no nucleus 3"):
        session.apply(operations.delete, [3])
    assert session.next_label == 49  # 48 is not given again


def test_delete_by_lasso(session: EditSession) -> None:
    lasso = [(0, 0), (30, 0), (30, 30), (20, 40), (0, 30)]  # around the centres of 1, 2, 9 and 10
    assert session.canvas.inside(lasso).tolist() == [1, 2, 9, 10]
    session.apply(operations.delete, session.canvas.inside(lasso))
    np.testing.assert_array_equal(
        labels_of(session), np.where(np.isin(LABELS, [1, 2, 9, 10]), 0, LABELS)
    )
    assert not len(session.canvas.inside([(0, 0), (5, 5)]))


def test_add(session: EditSession) -> None:
    mask = np.ones((6, 12), bool)
    session.apply(
        operations.add, mask, 12, 5, "spindle"
    )  # between 1 and 2: only columns 13 to 18 are free
    labels = labels_of(session)
    np.testing.assert_array_equal(labels[5:11, 13:19], 49)
    assert np.count_nonzero(labels != LABELS) == 36
    check_table(session, {49})
    assert row(session, 49)["type"] == "spindle"
    assert row(session, 49)["type_prob"] == 1
    with pytest.raises(UserError, match="already there"):
        session.apply(operations.add, mask, 12, 5, "spindle")


def test_new_nuclei_are_of_the_region_that_they_lie_in(path: Path) -> None:
    run = json.loads((path / "run.json").read_text())
    corners = [[10, 0], [40, 0], [40, 20], [10, 20]]
    run["options"] = {"regions": {"stroma": corners, "all": [[0, 0], [99, 0], [99, 99], [0, 99]]}}
    (path / "run.json").write_text(json.dumps(run))
    table = pd.read_parquet(path / "nuclei.parquet")
    table.assign(region="tumour").to_parquet(path / "nuclei.parquet")
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        for x, y in ((13, 5), (61, 5), (115, 30)):
            session.apply(operations.add, np.ones((6, 3), bool), x, y, "other")
        session.apply(operations.split, [(22, 0), (22, 40)])
        pieces = session.rows([2, 10, 49, 50, 51, 52, 53])
        assert pieces["region"].tolist() == [
            "tumour",
            "tumour",
            "stroma",
            "all",
            "",
            *["tumour"] * 2,
        ]
        session.undo()
        session.undo()
        session.redo()
        assert row(session, 51)["region"] == ""
    assert open_result(path).table()["region"].value_counts()["tumour"] == 48


def test_results_without_regions_can_be_corrected(path: Path) -> None:
    """Those of earlier versions, in whose journals the rows have no region either."""
    table = pd.read_parquet(path / "nuclei.parquet")
    table.drop(columns="region").to_parquet(path / "nuclei.parquet")
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        session.apply(operations.delete, [7])
    journal = path / "edits.jsonl"
    earlier = re.sub(r',"region":\["?"?\]', "", journal.read_text())
    assert '"region"' not in earlier
    journal.write_text(earlier)
    assert len(open_result(path).table()) == 47
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        session.undo()
        assert row(session, 7)["region"] == ""
    assert (open_result(path).table()["region"] == "").all()


def test_add_at_the_border(session: EditSession) -> None:
    session.apply(operations.add, np.ones((50, 50), bool), -48, -48, "other")
    assert np.count_nonzero(labels_of(session) == 49) == 4
    check_table(session, {49})
    with pytest.raises(UserError, match="outside the image"):
        session.apply(operations.add, np.ones((5, 5), bool), WIDTH, 0, "other")
    with pytest.raises(UserError, match="no class 'ghost'"):
        session.apply(operations.add, np.ones((5, 5), bool), 13, 13, "ghost")


def test_paint_erase_and_fill_at_once(session: EditSession) -> None:
    """A part of the image, as an editable layer holds it; its border cuts nuclei."""
    x, y = 24, 8
    painted = session.read_labels(x, y, 40, 30)
    expected = LABELS.copy()
    painted[0:2, :] = 0  # erases the lower half of what it shows of the first row, down to 10
    painted[13, 8] = 77  # a new nucleus of one pixel, in a number out of turn
    painted[14:18, 11:30] = 11  # from nucleus 11 across the gap into 12
    expected[y : y + 30, x : x + 40] = np.where(painted == 77, 49, painted)
    session.apply(operations.paint, x, y, painted, "other")
    np.testing.assert_array_equal(labels_of(session), expected)
    check_table(session, {2, 3, 4, 11, 12, 49})
    assert row(session, 49)["type"] == "other"
    assert row(session, 49)["type_prob"] == 1
    assert row(session, 11)["type_prob"] == 0.75


def test_nothing_painted(session: EditSession) -> None:
    session.apply(operations.paint, 0, 0, LABELS, "other")
    assert not session.can_undo


def test_a_nucleus_that_is_painted_over_goes(session: EditSession) -> None:
    painted = np.where(LABELS == 20, 19, LABELS)
    session.apply(operations.paint, 0, 0, painted, "other")
    assert not len(session.rows([20]))
    check_table(session, {19})


def test_a_number_from_elsewhere_is_a_new_nucleus(session: EditSession) -> None:
    """A layer that shows a part of the slide may give a number that another part has."""
    painted = session.read_labels(0, 0, 40, 30)
    painted[14:17, 14:17] = 48
    painted[0:2, 0:2] = -1
    session.apply(operations.paint, 0, 0, painted, "other")
    labels = labels_of(session)
    assert (labels[14:17, 14:17] == 50).all()
    assert (labels[0:2, 0:2] == 49).all()
    np.testing.assert_array_equal(labels == 48, LABELS == 48)
    check_table(session, {49, 50})


def test_labels_that_leave_the_image(session: EditSession) -> None:
    with pytest.raises(IndexError, match="exceeds an image"):
        session.apply(operations.paint, 100, 80, np.ones((20, 20), int), "other")


def test_reclassify(session: EditSession) -> None:
    before = session.table()
    session.apply(operations.reclassify, [5, 7, 5], "other")
    after = session.table()
    chosen = after["label"].isin([5, 7])
    assert (after.loc[chosen, "type"] == "other").all()
    assert (after.loc[chosen, "type_prob"] == 1).all()
    assert after["edited"].equals(chosen.rename("edited"))
    rest = [name for name in after if name not in ("type", "type_prob", "edited")]
    pd.testing.assert_frame_equal(after[rest], before[rest])
    pd.testing.assert_frame_equal(after[~chosen], before[~chosen])
    np.testing.assert_array_equal(labels_of(session), LABELS)
    with pytest.raises(UserError, match="no class 'ghost'"):
        session.apply(operations.reclassify, [5], "ghost")


def test_examples_are_nuclei_whose_type_a_person_has_set(session: EditSession) -> None:
    session.apply(operations.reclassify, [5, 7], "other")
    session.apply(operations.add, np.ones((2, 2), bool), 14, 14, "spindle")
    assert session.examples == {5, 7, 49}
    session.apply(operations.split, [(60, 8), (80, 8)])  # 5, but not across the whole
    assert session.examples == {5, 7, 49, 50}
    session.apply(operations.delete, [7])
    session.apply(operations.reclassify, [5, 6], "spindle")
    assert session.examples == {5, 6, 49, 50}
    for expected in ({5, 49, 50}, {5, 7, 49, 50}, {5, 7, 49}, {5, 7}, set()):
        session.undo()
        assert session.examples == expected
    session.redo()
    session.save()
    with open_session(session.path) as other:
        assert other.examples == {5, 7}


def test_a_classifier_types_all_but_the_examples(session: EditSession, path: Path) -> None:
    session.apply(annotations.recolor_type, "inflammatory", "#010203")
    session.apply(operations.reclassify, [5, 7], "other")
    session.save()
    before = session.table()
    labels = np.append(before["label"], 99)  # one that is gone
    names = np.where(labels % 2, "tumour", "inflammatory").astype(object)
    prob = np.linspace(0.5, 1, len(labels), dtype=np.float32)
    news: list[Changed] = []
    session.changed.append(news.append)
    colors = {"tumour": "#ff0000", "inflammatory": "#00ff00"}
    session.apply(operations.retype, labels, names, prob, colors)
    after = session.table()
    taught = after["label"].isin([5, 7])
    pd.testing.assert_frame_equal(after[taught], before[taught])
    assert after.loc[~taught, "type"].tolist() == names[:-1][~taught].tolist()
    np.testing.assert_array_equal(after.loc[~taught, "type_prob"], prob[:-1][~taught])
    assert after["edited"].equals(before["edited"])
    assert session.types == {"tumour": "#ff0000", "inflammatory": "#010203", "other": "#ff0000"}
    assert news[0].labels.tolist() == after.loc[~taught, "label"].tolist()
    assert news[0].types
    pd.testing.assert_frame_equal(open_result(path).table(), after)  # from the journal
    size = (path / "edits.jsonl").stat().st_size
    session.apply(operations.retype, labels, names, prob, colors)
    assert (path / "edits.jsonl").stat().st_size == size  # nothing to do
    session.undo()
    pd.testing.assert_frame_equal(session.table(), before)
    assert list(session.types) == list(TYPES)
    session.redo()
    pd.testing.assert_frame_equal(session.table(), after)


def test_classes(session: EditSession) -> None:
    counts = session.counts()
    session.apply(annotations.add_type, " mitosis ")
    session.apply(annotations.add_type, "debris", "#ABCDEF")
    assert list(session.types) == [*TYPES, "mitosis", "debris"]
    assert session.types["debris"] == "#abcdef"
    assert len(set(session.types.values())) == 5
    session.apply(annotations.recolor_type, "spindle", "#000001")
    session.apply(annotations.rename_type, "spindle", "fibroblast")
    assert list(session.types) == ["inflammatory", "fibroblast", "other", "mitosis", "debris"]
    assert session.types["fibroblast"] == "#000001"
    assert session.counts()["fibroblast"] == counts["spindle"]
    assert set(session.table()["type"]) == {"inflammatory", "fibroblast", "other"}
    session.apply(annotations.remove_type, "mitosis")
    assert list(session.types) == ["inflammatory", "fibroblast", "other", "debris"]
    assert not session.table()["edited"].any()


def test_classes_that_cannot_be(session: EditSession) -> None:
    with pytest.raises(UserError, match="16 nuclei are still spindle: give them"):
        session.apply(annotations.remove_type, "spindle")
    session.apply(operations.delete, session.table().query("type == 'spindle'")["label"][1:])
    with pytest.raises(UserError, match="1 nucleus is still spindle"):
        session.apply(annotations.remove_type, "spindle")
    for name in ("", "  "):
        with pytest.raises(UserError, match="needs a name"):
            session.apply(annotations.add_type, name)
    with pytest.raises(UserError, match="already"):
        session.apply(annotations.rename_type, "spindle", "other")
    with pytest.raises(UserError, match="no class 'ghost'"):
        session.apply(annotations.rename_type, "ghost", "spirit")
    for color in ("red", "#12345", "#12345g"):
        with pytest.raises(UserError, match="Invalid colour"):
            session.apply(annotations.recolor_type, "other", color)


def test_the_last_class_stays(session: EditSession) -> None:
    session.apply(operations.delete, session.table()["label"])
    for name in ("inflammatory", "spindle"):
        session.apply(annotations.remove_type, name)
    with pytest.raises(UserError, match="last class"):
        session.apply(annotations.remove_type, "other")


def test_reviewed_regions(session: EditSession, path: Path) -> None:
    session.apply(annotations.mark_reviewed, (-5, -5, 40, 30))
    session.apply(annotations.mark_reviewed, (60, 60, 500, 500))
    assert session.reviewed == [(0, 0, 40, 30), (60, 60, WIDTH, HEIGHT)]
    assert reviewed_regions(path) == session.reviewed
    with pytest.raises(UserError, match="already"):
        session.apply(annotations.mark_reviewed, (10, 10, 20, 20))
    with pytest.raises(UserError, match="outside the image"):
        session.apply(annotations.mark_reviewed, (200, 0, 300, 90))
    session.apply(annotations.mark_reviewed, (0, 0, 50, 50))  # replaces the first
    assert session.reviewed == [(60, 60, WIDTH, HEIGHT), (0, 0, 50, 50)]
    session.apply(annotations.unmark_reviewed, 70, 70)
    with pytest.raises(UserError, match="No reviewed region"):
        session.apply(annotations.unmark_reviewed, 70, 70)
    assert reviewed_regions(path) == [(0, 0, 50, 50)]


def test_listeners_learn_what_changed(session: EditSession) -> None:
    changes: list[Changed] = []
    session.changed.append(changes.append)
    session.apply(operations.split, [(23, 0), (23, 15)])
    session.apply(operations.reclassify, [1, 48], "other")
    session.apply(operations.delete, [9])
    session.undo()
    session.apply(annotations.add_type, "mitosis")
    session.apply(annotations.mark_reviewed, (0, 0, 9, 9))
    session.apply(operations.accept, [3])
    session.apply(operations.accept, [3])  # changes nothing
    assert [news.labels.tolist() for news in changes] == [[2, 49], [1, 48], [9], [9], [], [], []]
    square = Box(3, 19, 13, 29)
    boxes = [Box(19, 3, 29, 13), Box(3, 3, WIDTH, HEIGHT), square, square, None, None, None]
    assert [news.box for news in changes] == boxes
    assert [news.types for news in changes].index(True) == 4
    assert [news.reviewed for news in changes].index(True) == 5
    assert [news.checked for news in changes].index(True) == 6


def test_uncertain_nuclei_leave_out_what_was_seen(session: EditSession) -> None:
    queue = uncertain_nuclei(session.table(), session.checked)
    assert set(queue["label"]) == set(range(1, 49))
    # The last column and row are cut off by the border: the smallest is the most uncertain.
    session.apply(operations.accept, [1])
    session.apply(operations.reclassify, [2], "other")
    assert set(uncertain_nuclei(session.table(), session.checked)["label"]) == set(range(3, 49))
    session.undo()
    session.undo()
    assert set(uncertain_nuclei(session.table(), session.checked)["label"]) == set(range(1, 49))


def test_undo_and_redo_have_names(session: EditSession) -> None:
    assert (session.can_undo, session.can_redo) == ("", "")
    session.undo()
    session.redo()
    session.apply(operations.split, [(23, 0), (23, 15)])
    session.apply(operations.reclassify, [1], "other")
    assert (session.can_undo, session.can_redo) == ("reclassify", "")
    session.undo()
    assert (session.can_undo, session.can_redo) == ("split", "reclassify")
    session.apply(operations.delete, [5])
    assert (session.can_undo, session.can_redo) == ("delete", "")


def test_labels_are_never_given_twice(path: Path) -> None:
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        session.apply(operations.add, np.ones((3, 3), bool), 14, 14, "other")
        session.apply(operations.delete, [49])
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        session.apply(operations.add, np.ones((3, 3), bool), 14, 14, "other")
        assert session.table()["label"].max() == 50


def test_others_see_the_corrected_result(session: EditSession, path: Path) -> None:
    session.apply(operations.split, [(23, 0), (23, 15)])
    session.apply(annotations.rename_type, "other", "rest")
    session.apply(operations.delete, [48])
    for saved in (False, True):
        if saved:
            session.save()
        result = open_result(path)
        pd.testing.assert_frame_equal(result.table(), session.table())
        some = ["label", "type", "solidity"]
        pd.testing.assert_frame_equal(result.nuclei(some).to_pandas(), session.table()[some])
        pieces = pd.concat(result.tables(rows=7), ignore_index=True)
        pd.testing.assert_frame_equal(pieces, session.table())
        np.testing.assert_array_equal(result.read_labels(0, 0, WIDTH, HEIGHT), labels_of(session))
        np.testing.assert_array_equal(result.labels[0].compute(), labels_of(session))
        assert list(result.types) == ["inflammatory", "spindle", "rest"]
        assert result.run["counts"] == session.counts()
    stored = pd.read_parquet(path / "nuclei.parquet")
    pd.testing.assert_frame_equal(stored, session.table())


def test_the_journal_tells_what_was_done(session: EditSession, path: Path) -> None:
    session.apply(operations.reclassify, [7], "other")
    session.undo()
    lines = [json.loads(line) for line in (path / "edits.jsonl").read_text().splitlines()]
    assert [line["n"] for line in lines] == [1, 2]
    assert lines[0]["edit"] == "reclassify"
    assert pd.Timestamp(lines[0]["time"]) <= pd.Timestamp.now("UTC")
    before, after = lines[0]["rows"]
    assert before == {"label": [7], "type": ["spindle"], "type_prob": [0.75], "edited": [False]}
    assert after == {"label": [7], "type": ["other"], "type_prob": [1.0], "edited": [True]}
    assert lines[1]["undo"] == 1


def test_without_micrometres_and_certainty(tmp_path: Path) -> None:
    """A model without types: its nuclei have no probability."""
    path = write_result(tmp_path / "slide.nucleus", LABELS, mpp=None, type_prob=np.nan).path
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        session.apply(operations.split, [(23, 0), (23, 15)])
        assert session.rows([2, 49])["type_prob"].isna().all()
        start = session.table()
        session.apply(operations.reclassify, [2], "other")
        session.undo()
        pd.testing.assert_frame_equal(session.table(), start)
        session.undo()
        session.redo()
        pd.testing.assert_frame_equal(session.table(), start)


def test_all_nuclei_deleted_and_back(session: EditSession) -> None:
    start = session.table()
    session.apply(operations.delete, session.table()["label"])
    assert not labels_of(session).any()
    assert session.counts() == {"nuclei": 0, **dict.fromkeys(TYPES, 0)}
    session.apply(operations.add, np.ones((4, 4), bool), 3, 3, "other")
    assert session.table()["label"].tolist() == [49]
    session.undo()
    session.undo()
    pd.testing.assert_frame_equal(session.table(), start)


def test_the_image_has_moved(path: Path) -> None:
    with pytest.raises(UserError, match="made from a layer"):
        EditSession(path)
    with pytest.raises(UserError, match="not the image"):
        EditSession(path, slide_from_arrays([np.zeros((9, 9, 3), np.uint8)]))
    with EditSession(path, picture(HEIGHT, WIDTH)) as session:
        assert not session.read_only  # a failure has not left the lock
        assert not session.warning
    with EditSession(path, slide_from_arrays([np.zeros((HEIGHT, WIDTH, 3), np.uint8)])) as session:
        assert "is not the file that slide.nucleus was made from" in session.warning
