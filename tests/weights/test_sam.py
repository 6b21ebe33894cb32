import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.weights import sam as sam_weights
from napari_nucleus.weights.sam import SAM_WEIGHTS, SamWeights, check_sam, fetch_sam, find_sam

CONTENT = bytes(range(256)) * 3000
OFFICIAL = "small_sam.pt"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of models."""
    folder = tmp_path / "models"
    monkeypatch.setattr(sam_weights, "trained_dir", lambda: folder)
    return folder


@pytest.fixture
def served(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Publish a small file in the place of MobileSAM's; return it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    file = tmp_path / "www" / OFFICIAL
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/{OFFICIAL}"
        digest = hashlib.sha256(CONTENT).hexdigest()
        monkeypatch.setitem(
            SAM_WEIGHTS, "vit_t", SamWeights("MobileSAM", url, len(CONTENT), digest)
        )
        Thread(target=server.serve_forever, daemon=True).start()
        yield file
        server.shutdown()


def test_weights_are_fetched_once(served: Path, home: Path) -> None:
    calls: list[tuple[int, int]] = []
    file = fetch_sam("vit_t", lambda *call: calls.append(call))
    assert file == home / OFFICIAL
    assert file.read_bytes() == CONTENT
    assert [path.name for path in home.iterdir()] == [OFFICIAL]
    done = [done for done, _ in calls]
    assert done == sorted(done)
    assert 0 < done[0] < len(CONTENT) == done[-1]
    assert {total for _, total in calls} == {len(CONTENT)}
    served.unlink()
    assert fetch_sam("vit_t", lambda *_: pytest.fail("fetched again")) == file
    assert find_sam("vit_t") == file
    assert check_sam(file) == SAM_WEIGHTS["vit_t"].sha256


def test_damaged_weights_are_fetched_anew(served: Path, home: Path) -> None:
    home.mkdir()
    (home / OFFICIAL).write_bytes(CONTENT[:100])
    assert fetch_sam("vit_t", lambda *_: None).read_bytes() == CONTENT


def test_another_file_is_not_kept(served: Path, home: Path) -> None:
    served.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="sent another file than the official MobileSAM"):
        fetch_sam("vit_t", lambda *_: None)
    assert not list(home.iterdir())


def test_download_ends_where_progress_raises(served: Path, home: Path) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_sam("vit_t", cancel)
    assert not list(home.iterdir())


def test_missing_address_is_told(served: Path) -> None:
    served.unlink()
    with pytest.raises(UserError, match=r"cannot be downloaded from http.*HTTPError"):
        fetch_sam("vit_t", lambda *_: None)


def test_no_network_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        port = server.server_port
    nobody = SamWeights("MobileSAM", f"http://127.0.0.1:{port}/{OFFICIAL}", 1, "0" * 64)
    monkeypatch.setitem(SAM_WEIGHTS, "vit_t", nobody)
    with pytest.raises(UserError, match=r"ConnectionError.*check the network") as caught:
        fetch_sam("vit_t", lambda *_: None)
    assert str(home) in str(caught.value)


def test_place_that_cannot_be_written_is_told(served: Path, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="Cannot write"):
        fetch_sam("vit_t", lambda *_: None)


def test_missing_weights_say_how_to_get_them(home: Path) -> None:
    with pytest.raises(UserError, match=r"SAM ViT-B needs its weights \(375 MB\)") as caught:
        find_sam("vit_b")
    assert "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth" in str(
        caught.value
    )
    assert str(home) in str(caught.value)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Unknown SAM weights 'vit_hh': give a file or vit_h"):
        find_sam("vit_hh")


def test_own_file_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    file.write_bytes(CONTENT)
    assert find_sam(file) == find_sam(str(file)) == file
    assert check_sam(file) == hashlib.sha256(CONTENT).hexdigest()


def test_wrong_file_under_an_official_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mobile_sam.pt"
    file.write_bytes(CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()[:12]
    with pytest.raises(UserError, match=f"it has 768,000 bytes and SHA-256 {digest}…") as caught:
        check_sam(file)
    assert "40,728,226 and 6dbb90523a35…" in str(caught.value)


def test_published_file_is_known(mobile_sam: Path) -> None:
    known = SAM_WEIGHTS["vit_t"]
    assert check_sam(mobile_sam) == known.sha256
    assert mobile_sam.stat().st_size == known.size
