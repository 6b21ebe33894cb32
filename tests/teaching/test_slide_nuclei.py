import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import Result, open_result
from napari_nucleus.teaching.make_features import make_features_steps, measured_nuclei
from napari_nucleus.teaching.slide_nuclei import (
    COLUMNS,
    NEIGHBOURS,
    REACH,
    STEPS,
    SlideNuclei,
    mean_over_neighbours,
)
from tests.teaching.folder import Colours, write_result


@pytest.fixture
def result(tmp_path: Path) -> Result:
    result = write_result(tmp_path / "slide.nucleus")
    steps = make_features_steps(result, measured_nuclei(result), Colours(), result.open_image())
    for _ in steps:
        pass
    return result


@pytest.mark.parametrize("count", [1, 2, 5, 300])
def test_means_over_neighbours(count: int) -> None:
    points = np.random.default_rng(0).uniform(0, 200, (count, 2))
    distance = cdist(points, points)
    weights = np.exp(-0.5 * (distance / REACH) ** 2) + 1e-6
    far = np.argsort(np.argsort(distance, axis=1), axis=1) >= NEIGHBOURS
    weights[far] = 0
    expected = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(mean_over_neighbours(points).toarray(), expected, atol=1e-6)


def test_what_describes_nuclei(result: Result) -> None:
    nuclei = SlideNuclei.read(result)
    table = result.table()
    own = nuclei.own.astype(float)
    width = own.shape[1]
    assert width == 6 + len(COLUMNS)  # surroundings and spread of three colours
    column = own.T[6 + COLUMNS.index("area_um2")]
    np.testing.assert_allclose(column, np.log(table["area_um2"]), atol=2e-3)
    column = own.T[6 + COLUMNS.index("eosin_mean")]
    eosin = table["eosin_mean"] - table["eosin_mean"].median()
    np.testing.assert_allclose(column, eosin, atol=2e-3)
    matrix = nuclei.mean_over_neighbours.toarray().astype(float)
    expected = [own, matrix @ own, np.linalg.matrix_power(matrix, STEPS) @ own]
    everything = nuclei.describe(np.arange(len(nuclei)))
    np.testing.assert_allclose(everything, np.concatenate(expected, 1), atol=1e-3)
    some = np.array([70, 3, 3])
    np.testing.assert_array_equal(nuclei.describe(some), everything[some])
    weights = np.random.default_rng(0).normal(size=(3 * width, 4)).astype(np.float32)
    np.testing.assert_allclose(nuclei.project(weights), everything @ weights, atol=1e-3)
    assert nuclei.describe(some[:0]).shape == (0, 3 * width)
    assert nuclei.labels.tolist() == table["label"].tolist()
    np.testing.assert_allclose(nuclei.centres[:, 0], table["centroid_x"] * 0.25)


def test_missing_measurements(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    table = result.nuclei()
    table.columns["eosin_mean"][5:9] = np.nan
    monkeypatch.setattr(Result, "nuclei", lambda *_: table)
    column = SlideNuclei.read(result).own[:, 6 + COLUMNS.index("eosin_mean")]
    assert (column[5:9] == 0).all()  # as the slide has it in the median
    table.columns["eosin_mean"][:] = np.nan
    with pytest.raises(UserError, match="has no eosin_mean"):
        SlideNuclei.read(result)


def test_without_features(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have no features"):
        SlideNuclei.read(write_result(tmp_path / "slide.nucleus"))
    result = write_result(tmp_path / "empty.nucleus", rows=1)
    with EditSession(result.path) as session:
        session.apply(operations.delete, range(1, 15))
    with pytest.raises(UserError, match="has no nuclei"):
        SlideNuclei.read(open_result(result.path))


@pytest.mark.slow
def test_a_hundred_thousand_nuclei_are_projected_in_a_moment() -> None:
    count = 100_000
    rng = np.random.default_rng(0)
    nearest = (np.arange(count)[:, None] + np.arange(NEIGHBOURS)) % count
    shares = np.full(nearest.size, 1 / NEIGHBOURS, np.float32)
    starts = np.arange(0, nearest.size + 1, NEIGHBOURS)
    matrix = csr_array((shares, nearest.ravel(), starts), shape=(count, count))
    own = rng.normal(size=(count, 91)).astype(np.float16)
    nuclei = SlideNuclei("slide", {}, np.arange(count), np.zeros((count, 2)), own, matrix)
    weights = rng.normal(size=(3 * 91, 6)).astype(np.float32)
    start = time.process_time()
    nuclei.project(weights)
    assert time.process_time() - start < 1  # 0.05 s; a slow machine under load has time
