from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_nucleus.models import registry
from tests.tissue import tissue, write_dataset
from tests.training.tiny import Tiny


@pytest.fixture(autouse=True, scope="session")
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BUILDERS, "tiny", Tiny)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = {name: tissue(96, 96, seed, 3e-3) for seed, name in enumerate("abcde")}
    return write_dataset(tmp_path_factory.mktemp("data") / "made", images)
