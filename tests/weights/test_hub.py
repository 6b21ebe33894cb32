"""Weights from a hub that may not be there."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from napari_nucleus.errors import UserError
from napari_nucleus.weights import hub


def test_hub_that_is_not_there_is_asked_once_and_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download would try again and again."""
    asked: list[str] = []

    class Unreachable:
        def model_info(self, repository: str, timeout: float) -> None:
            asked.append(f"{repository} within {timeout:.0f} s")
            raise ConnectionError("no route to host\nand more of it")

    def look(repository: str, filename: str, **options: Any) -> None:
        asked.append("cache" if options == {"local_files_only": True} else "download")
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(hub, "HfApi", Unreachable)
    monkeypatch.setattr(hub, "hf_hub_download", look)
    with pytest.raises(UserError, match=r"a/b cannot be downloaded .*\(no route to host\)"):
        hub.fetch_weights("a/b")
    assert asked == ["cache", "a/b within 3 s"]


def test_what_is_in_the_cache_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HfApi", None)
    monkeypatch.setattr(hub, "hf_hub_download", lambda *_, local_files_only: "/cache/model")
    assert hub.fetch_weights("a/b") == Path("/cache/model")
