"""The nuclei table in memory, held against one row per label."""

import json

import numpy as np
import pyarrow as pa
import pytest

from napari_nucleus.results.journal.rows import (
    NucleusTable,
    Rows,
    distinct,
    rows_from_json,
    rows_to_json,
)

TYPES = np.array(["dark", "pale"], object)


def some_rows(labels: np.ndarray, rng: np.random.Generator) -> Rows:
    return {
        "label": labels,
        "type": rng.choice(TYPES, len(labels)),
        "area_um2": rng.random(len(labels)).astype(np.float32),
    }


def table_of(rows: Rows) -> NucleusTable:
    schema = [("label", pa.int32()), ("type", pa.string()), ("area_um2", pa.float32())]
    return NucleusTable(pa.table(rows, schema=pa.schema(schema)))


def check(table: NucleusTable, expected: dict[int, tuple[str, float]]) -> None:
    labels = sorted(expected)
    assert len(table) == len(expected)
    assert table.labels.tolist() == labels
    assert table.columns["type"].tolist() == [expected[label][0] for label in labels]
    assert table.columns["area_um2"].tolist() == [expected[label][1] for label in labels]
    assert table.arrow()["label"].to_pylist() == labels


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("looked_at", [False, True])
def test_rows_come_change_and_go(count: int, looked_at: bool) -> None:
    """And come back, as an undo brings them, at any place."""
    rng = np.random.default_rng(count)
    first = some_rows(rng.permutation(np.arange(1, 2 * count + 1, 2)), rng)
    expected = {
        label: (type_name, area)
        for label, type_name, area in zip(
            *(values.tolist() for values in first.values()), strict=True
        )
    }
    table = table_of(first)
    check(table, expected)
    gone: list[Rows] = []
    for step in range(200):
        there = np.array(sorted(expected), np.int64)
        chosen = rng.permutation(there)[: rng.integers(0, 4)]
        before = table.rows(chosen)
        match step % 4:
            case 0:  # delete
                after = {name: values[:0] for name, values in before.items()}
                gone.append(before)
            case 1:  # another type
                after = {"label": chosen, "type": rng.choice(TYPES, len(chosen))}
            case 2:  # new ones in place of old ones
                top = max(expected, default=0) + 1
                new = top + rng.permutation(5)[: rng.integers(0, 4)]
                after = some_rows(np.r_[new, chosen[:1]], rng)
            case _:  # those are back that were deleted some time ago
                before = {name: values[:0] for name, values in before.items()}
                after = gone.pop(int(rng.integers(len(gone))))
        table.replace(before, after)
        for label in before["label"].tolist():
            if label not in after["label"]:
                del expected[label]
        for place, label in enumerate(after["label"].tolist()):
            old = expected.get(label, ("", 0.0))
            values = {name: column[place] for name, column in after.items()}
            expected[label] = (values["type"], float(values.get("area_um2", old[1])))
        assert table.known(np.arange(0, 400)).nonzero()[0].tolist() == sorted(expected)
        if looked_at:
            check(table, expected)
    check(table, expected)
    with pytest.raises(KeyError):
        table.rows(np.array([10_000]))


def test_labels_beyond_its_own_are_not_known() -> None:
    table = table_of(some_rows(np.array([1, 2]), np.random.default_rng(0)))
    assert not table.known(np.array([2**32 + 1, -1, 3])).any()


@pytest.mark.parametrize("count", [0, 7, 5000])
def test_rows_are_in_the_journal_without_loss(count: int) -> None:
    """A few as lists that anyone can read, many in some bytes each."""
    rng = np.random.default_rng(count)
    rows = some_rows(np.arange(1, count + 1), rng)
    rows["area_um2"][::3] = np.nan
    rows["edited"] = rng.random(count) < 0.5
    stored = json.dumps(rows_to_json(rows), allow_nan=False)
    found = rows_from_json(json.loads(stored))
    for name, values in rows.items():
        np.testing.assert_array_equal(found[name], values)
    if count == 7:
        assert json.loads(stored)["type"] == rows["type"].tolist()
    if count == 5000:
        assert len(stored) < 12 * count


@pytest.mark.parametrize(
    "damage", [{"data": "!"}, {"data": "AAAA"}, {"names": []}, {"dtype": "O"}, {"dtype": "<i8"}]
)
def test_damaged_rows_are_told(damage: dict[str, object]) -> None:
    rows = {"type": np.array(["dark"] * 1001, object)}
    stored = rows_to_json(rows)
    stored["type"].update(damage)
    with pytest.raises(ValueError, match=r"\w"):
        rows_from_json(stored)


@pytest.mark.parametrize("labels", [[], [-1], [3, 3], [7, -1, 2, 7, 2**40]])
def test_distinct_labels(labels: list[int]) -> None:
    found = distinct(np.array(labels, np.int64))
    assert found.tolist() == sorted(set(labels))
    assert found.dtype == np.int64


def test_single_edits_copy_no_columns() -> None:
    """A million rows are copied when there is no room for new ones, and at no other edit."""
    rng = np.random.default_rng(0)
    table = table_of(some_rows(np.arange(1, 1001), rng))
    nothing = {name: values[:0] for name, values in some_rows(np.arange(1), rng).items()}
    table.replace(nothing, some_rows(np.array([1001]), rng))
    before = table.columns
    for label in range(1002, 1050):
        table.replace(nothing, some_rows(np.array([label]), rng))
    for name, values in table.columns.items():
        assert np.shares_memory(before[name], values)
        assert len(values) == 1049
