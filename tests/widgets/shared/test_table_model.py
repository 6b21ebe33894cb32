"""The table of nuclei: order and condition, held against pandas."""

from time import perf_counter

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.shared.table_model import NucleiModel

TYPES = {"dark": "#ff0000", "pale": "#00ff00"}

UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder


def nuclei(count: int, seed: int = 0) -> pd.DataFrame:
    """Return nuclei whose labels have gaps, with areas that are equal or missing."""
    rng = np.random.default_rng(seed)
    areas = rng.integers(10, 100, count).astype(np.float32)
    areas[rng.random(count) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "label": (np.cumsum(rng.integers(1, 5, count))).astype(np.int32),
            "type": rng.choice(np.array(list(TYPES), object), count),
            "area_um2": areas,
            "solidity": rng.random(count),
            "edited": rng.random(count) < 0.3,
        }
    )


def columns_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): values.to_numpy(object if name == "type" else None)
            for name, values in table.items()}  # fmt: skip


def model_of(table: pd.DataFrame) -> NucleiModel:
    model = NucleiModel()
    model.show_nuclei(columns_of(table), TYPES)
    return model


def shown(model: NucleiModel) -> list[int]:
    """Return the labels as the cells of the first column have them."""
    cells = (model.data(model.index(row, 0)) for row in range(model.rowCount()))
    return [int(cell) for cell in cells]


@pytest.mark.parametrize("column", ["label", "type", "area_um2", "solidity", "edited"])
@pytest.mark.parametrize("order", [UP, DOWN])
def test_rows_are_sorted_as_pandas_sorts(column: str, order: Qt.SortOrder) -> None:
    table = nuclei(200)
    model = model_of(table)
    model.sort(list(table).index(column), order)
    expected = table.sort_values(column, ascending=order == UP, kind="stable", na_position="last")
    assert shown(model) == expected["label"].tolist()
    assert model.labels.tolist() == expected["label"].tolist()


@pytest.mark.parametrize(
    ("type_name", "condition"),
    [
        ("", "area_um2 > 50"),
        ("dark", ""),
        ("pale", "area_um2 > 50 and solidity < 0.5"),
        ("", "type == 'pale' or edited"),
        ("", "label > 1000000"),
    ],
)
def test_conditions_are_those_of_pandas(type_name: str, condition: str) -> None:
    table = nuclei(300)
    model = model_of(table)
    model.sort(2, DOWN)
    model.filter(type_name, condition)
    expected = table.sort_values("area_um2", ascending=False, kind="stable", na_position="last")
    expected = expected[expected["type"] == type_name] if type_name else expected
    expected = expected.query(condition) if condition else expected
    assert shown(model) == expected["label"].tolist()
    assert model.total == len(table)
    model.filter("", "")
    assert model.rowCount() == len(table)


@pytest.mark.parametrize(
    "condition",
    ["area_um2 >", "area > 50", "area_um2", "area_um2 + 1", "area_um2 > 'x'", "50", "@pd", "a b"],
)
def test_what_is_no_condition_is_told_in_a_line(condition: str) -> None:
    model = model_of(nuclei(50))
    model.filter("dark", "area_um2 > 50")
    before = shown(model)
    with pytest.raises(UserError, match=r"is not a condition.*area_um2 > 50") as told:
        model.filter("", condition)
    assert "\n" not in str(told.value)
    assert shown(model) == before


def test_rows_are_found_by_label() -> None:
    table = nuclei(100)
    model = model_of(table)
    model.sort(3, DOWN)
    model.filter("dark", "")
    labels = table["label"].to_numpy()[[3, 50, 77]]
    expected = [row for row, label in enumerate(shown(model)) if label in labels]
    assert model.rows_of(labels).tolist() == expected
    assert model.rows_of(np.array([10**6])).tolist() == []


def test_other_nuclei_come_in_the_same_order() -> None:
    model = model_of(nuclei(50))
    model.sort(3, DOWN)
    model.filter("pale", "area_um2 > 30")
    table = nuclei(80, seed=1)
    model.show_nuclei(columns_of(table), TYPES)
    expected = table.query("type == 'pale' and area_um2 > 30")
    assert shown(model) == expected.sort_values("solidity", ascending=False)["label"].tolist()


def test_cells_show_numbers_and_types() -> None:
    table = nuclei(5)
    table["area_um2"] = np.array([1234.5678, np.nan, 1, 1, 1], np.float32)
    table["edited"] = [True, False, True, True, True]
    model = model_of(table)
    assert [model.headerData(i, Qt.Orientation.Horizontal) for i in range(5)] == list(table)
    texts = [[model.data(model.index(row, column)) for column in (2, 4)] for row in (0, 1)]
    assert texts == [["1,234.6", "yes"], ["", ""]]
    color = model.data(model.index(0, 1), Qt.ItemDataRole.DecorationRole)
    assert color.name() == TYPES[table["type"][0]]


def test_only_types_are_edited_and_by_whom_they_belong_to() -> None:
    model = model_of(nuclei(5))
    asked: list[tuple[int, str]] = []
    model.type_edited.connect(lambda row, name: asked.append((row, name)))
    editable = [bool(model.flags(model.index(0, i)) & Qt.ItemFlag.ItemIsEditable) for i in range(5)]
    assert editable == [False, True, False, False, False]
    model.setData(model.index(2, 1), "pale")
    model.setData(model.index(2, 1), "no such type")
    assert asked == [(2, "pale")]


def test_a_million_rows_take_no_step_per_row() -> None:
    """The slowest of Python's loops over them would take more than this."""
    table = pd.concat([nuclei(1000)] * 1000, ignore_index=True)
    table["label"] = np.arange(1, len(table) + 1, dtype=np.int32)
    model = model_of(table)
    start = perf_counter()
    model.sort(2, DOWN)
    model.filter("dark", "area_um2 > 50")
    assert model.rows_of(model.labels[-1:]).tolist() == [model.rowCount() - 1]
    assert perf_counter() - start < 3  # seconds, on a machine that is busy; else 0.2
