import numpy as np
import pandas as pd
import pytest

from napari_nucleus.edits.review_queue import uncertain_nuclei


def nuclei(count: int = 200, seed: int = 0) -> pd.DataFrame:
    """Nuclei of two types, the second four times as large, of certain classes."""
    rng = np.random.default_rng(seed)
    second = np.arange(count) % 2 == 1
    area = rng.normal(40, 4, count) * np.where(second, 4, 1)
    return pd.DataFrame(
        {
            "label": np.arange(1, count + 1),
            "type": np.where(second, "large", "small"),
            "type_prob": 1.0,
            "area_um2": area,
            "solidity": rng.normal(0.95, 0.01, count),
            "edited": False,
        }
    )


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("type_prob", 0.3, "class"),
        ("area_um2", 4.0, "size"),
        ("area_um2", 500.0, "size"),
        ("area_um2", 160.0, "size"),  # as the other type has it
        ("solidity", 0.7, "boundary"),
    ],
)
def test_what_stands_out_comes_first(column: str, value: float, reason: str) -> None:
    table = nuclei()
    table.loc[100, column] = value  # a small one
    first = uncertain_nuclei(table).iloc[0]
    assert (first["label"], first["reason"]) == (101, reason)
    assert 0.5 < first["uncertainty"] <= 1


def test_a_large_nucleus_of_a_large_type_is_no_outlier() -> None:
    table = nuclei()
    table.loc[101, "area_um2"] = 160.0
    queue = uncertain_nuclei(table)
    assert queue["label"][0] != 102
    assert (queue.loc[queue["label"] == 102, "uncertainty"] < 0.1).all()


def test_a_solid_nucleus_has_a_certain_boundary() -> None:
    table = nuclei()
    table.loc[100, "solidity"] = 1.0
    assert uncertain_nuclei(table).set_index("label").loc[101, "reason"] != "boundary"


def test_the_most_uncertain_come_first() -> None:
    table = nuclei().assign(type_prob=np.linspace(0.5, 0.99, 200))
    queue = uncertain_nuclei(table)
    assert queue["uncertainty"].is_monotonic_decreasing
    assert queue["uncertainty"].between(0, 1).all()
    assert set(queue["label"]) == set(table["label"])


def test_so_many_as_are_asked_for() -> None:
    table = nuclei()
    pd.testing.assert_frame_equal(uncertain_nuclei(table, count=5), uncertain_nuclei(table)[:5])


def test_what_was_seen_is_left_out() -> None:
    table = nuclei()
    table.loc[:9, "edited"] = True
    queue = uncertain_nuclei(table, checked={11, 12, 999})
    assert set(queue["label"]) == set(range(13, 201))


def test_pixels_missing_probabilities_and_single_nuclei() -> None:
    table = nuclei(3).rename(columns={"area_um2": "area_px2"}).assign(type_prob=np.nan)
    table["type"] = ["a", "b", "c"]
    assert uncertain_nuclei(table).empty  # nothing to compare them with
    assert uncertain_nuclei(table[:0]).empty
