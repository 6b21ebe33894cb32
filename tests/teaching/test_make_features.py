from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.features import FeatureStore
from napari_nucleus.teaching import make_features
from napari_nucleus.teaching.make_features import (
    find_network,
    lacking_features,
    make_features_steps,
    measured_nuclei,
)
from tests.edits import folder as squares
from tests.teaching.folder import Colours, picture, whole, write_result


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return write_result(tmp_path / "slide.nucleus")


def made(result: Result, network: Colours) -> FeatureStore:
    for _ in make_features_steps(result, measured_nuclei(result), network, result.open_image()):
        pass
    store = FeatureStore.open(result.path)
    assert store is not None
    return store


def test_features_are_those_of_the_whole_image(result: Result) -> None:
    network = Colours()
    network.tile, network.margin = 96, 32  # several tiles
    store = made(result, network)
    nuclei = measured_nuclei(result)
    features = store.read(store.find(nuclei.columns))
    slide, labels = picture(10, 14, "slide")
    np.testing.assert_allclose(features, whole(network, slide, labels), atol=2e-3)
    assert store.network == {"name": network.name, "sha256": network.sha256}


def test_at_another_resolution_every_nucleus_has_features(result: Result) -> None:
    network = Colours()
    network.mpp = 6.0  # a network pixel is wider than a nucleus
    store = made(result, network)
    assert np.isfinite(store.read(store.find(measured_nuclei(result).columns))).all()


def test_only_what_was_edited_is_made_again(result: Result) -> None:
    network = Colours()
    network.tile, network.margin = 96, 32
    made(result, network)
    network.seen = 0
    made(result, network)
    assert network.seen == 0
    with EditSession(result.path) as session:
        mask = np.ones((5, 5), bool)
        session.apply(operations.add, mask, 0, 0, "nucleus")
        session.apply(operations.delete, [140])
        session.apply(operations.reclassify, [30], "nucleus")
    result = open_result(result.path)
    lacking = lacking_features(result, measured_nuclei(result))
    assert np.flatnonzero(lacking).tolist() == [139]  # the new one, of label 141
    made(result, network)
    assert network.seen == 1
    assert not lacking_features(result, measured_nuclei(result)).any()


def test_the_network_is_that_of_the_features(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"weights")
    digest = make_features.sha256(file)
    monkeypatch.setattr(make_features, "list_checkpoints", lambda: {"mine": file})
    monkeypatch.setattr(make_features, "find_checkpoint", Path)
    assert find_network(result) == Path("histonext_atto_he")
    wanted = {"name": "mine", "sha256": digest}
    assert find_network(result, wanted) == file
    result.run["model"]["sha256"] = digest
    assert find_network(result) == file
    gone = {"name": "gone", "sha256": "ab" * 32}
    with pytest.raises(UserError, match=r"needs features of gone \(abababab\).*are not here: copy"):
        find_network(result, gone)
    FeatureStore.create(result.path, gone, 3)
    with pytest.raises(UserError, match="needs features of gone"):
        find_network(result, wanted)


def test_a_result_needs_its_resolution(tmp_path: Path) -> None:
    result = squares.write_result(tmp_path / "s.nucleus", squares.squares(40, 40), mpp=None)
    with pytest.raises(UserError, match="has no µm/px"):
        next(make_features_steps(result, measured_nuclei(result), Colours(), None))  # type: ignore[arg-type]
