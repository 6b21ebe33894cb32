from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.results import features as module
from napari_nucleus.results.features import FeatureStore, FeatureWriter

NETWORK = {"name": "tiny", "sha256": "ab"}


def nuclei(count: int, first: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(first)
    return pd.DataFrame(
        {
            "label": np.arange(first, first + count),
            "type": "nucleus",
            "centroid_x": rng.random(count),
            "centroid_y": rng.random(count),
            "area_um2": rng.random(count).astype(np.float32),
        }
    )


def values(table: pd.DataFrame) -> np.ndarray:
    """Features that tell which nucleus they belong to."""
    return np.stack([table["label"] % 64, table["label"] // 64, table["area_um2"]], axis=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 16)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    table = nuclei(100)
    writer = FeatureWriter(tmp_path, NETWORK)
    for start in range(0, 100, 7):
        piece = table[start : start + 7]
        writer.append(piece, values(piece))
    writer.flush()
    return table


def opened(folder: Path) -> FeatureStore:
    store = FeatureStore.open(folder)
    assert store is not None
    return store


def test_rows_are_in_the_order_of_the_table(table: pd.DataFrame, tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.network == NETWORK
    assert (len(store), store.width) == (100, 3)
    assert store.find(table).tolist() == list(range(100))
    np.testing.assert_allclose(store.read(np.arange(100)), values(table), atol=1e-3)
    some = np.array([99, 3, 4, 40])
    np.testing.assert_allclose(store.read(some), values(table)[some], atol=1e-3)
    assert store.read(some[:0]).shape == (0, 3)


def test_edited_and_new_nuclei_have_none(table: pd.DataFrame, tmp_path: Path) -> None:
    table = pd.concat([table.drop(index=range(5)), nuclei(20, 101)], ignore_index=True)
    edited = table["label"].isin([30, 31])
    table.loc[edited, "centroid_x"] += 0.25
    table.loc[table["label"] == 32, "area_um2"] *= 2
    store = opened(tmp_path)
    missing = store.find(table) < 0
    assert table["label"][missing].tolist() == [30, 31, 32, *range(101, 121)]
    store.put(table[missing], values(table[missing]))
    for each in (store, opened(tmp_path)):
        rows = each.find(table)
        assert (rows >= 0).all()
        np.testing.assert_allclose(each.read(rows), values(table), atol=1e-3)
    assert len(store) == 120


def test_rows_that_a_killed_process_left_are_nobodys(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    table.loc[10:19, "centroid_y"] += 1
    changed = pd.concat([table[10:20], nuclei(4, 101)])
    store._arrays["label"] = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        store.put(changed, values(changed))
    again = opened(tmp_path)
    assert (again.find(changed) < 0).all()
    again.put(changed, values(changed))
    np.testing.assert_allclose(again.read(again.find(changed)), values(changed), atol=1e-3)


def test_damage(table: pd.DataFrame, tmp_path: Path) -> None:
    (chunk,) = (tmp_path / "features.zarr" / "features" / "c" / "2").iterdir()
    chunk.write_bytes(b"\x00" * 7)
    store = opened(tmp_path)
    with pytest.raises(UserError, match=r"features\.zarr is damaged .*delete this folder"):
        store.read(np.arange(100))
    (tmp_path / "features.zarr" / "zarr.json").write_text("{}")
    assert FeatureStore.open(tmp_path) is None
    assert FeatureStore.open(tmp_path / "elsewhere") is None
