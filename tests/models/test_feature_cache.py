import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_nucleus.models import NucleusModel
from napari_nucleus.models.feature_cache import FeatureCache, weights_hash
from tests.training.tiny import Tiny

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Counted:
    """An encoder of two levels that remembers how many images it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.seen.append(len(images))
        return [images * 2, images.mean((2, 3)).to(torch.bfloat16)]


def assert_right(found: list[Tensor], images: Tensor = IMAGES) -> None:
    expected = Counted()(images)
    assert [level.dtype for level in found] == [torch.float32, torch.bfloat16]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_each_image_is_encoded_once(tmp_path: Path) -> None:
    cache, encode = FeatureCache(tmp_path), Counted()
    assert_right(cache.features(IMAGES[:3], encode, "w"), IMAGES[:3])
    assert_right(cache.features(IMAGES, encode, "w"))
    assert_right(FeatureCache(tmp_path).features(IMAGES.flip(0), encode, "w"), IMAGES.flip(0))
    assert encode.seen == [3, 1]
    assert len(entries(tmp_path)) == 4


def test_other_weights_have_other_features(tmp_path: Path) -> None:
    cache, encode = FeatureCache(tmp_path), Counted()
    cache.features(IMAGES, encode, "one")
    cache.features(IMAGES, encode, "other")
    assert encode.seen == [4, 4]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "zeroed"])
def test_damaged_entries_are_made_anew(tmp_path: Path, damage: str) -> None:
    cache, encode = FeatureCache(tmp_path), Counted()
    cache.features(IMAGES, encode, "w")
    file = entries(tmp_path)[1]
    content = file.read_bytes()
    file.write_bytes(
        {
            "cut": content[:-20],
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
            "emptied": b"",
            "zeroed": bytes(len(content)),
        }[damage]
    )
    assert_right(cache.features(IMAGES, encode, "w"))
    assert encode.seen == [4, 1]
    assert file.read_bytes() == content


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    encode = Counted()
    FeatureCache(tmp_path).features(IMAGES[:1], encode, "w")
    (first,) = entries(tmp_path)
    size = first.stat().st_size
    cache = FeatureCache(tmp_path, limit_bytes=int(3.5 * size))
    cache.features(IMAGES[1:3], encode, "w")
    for age, file in enumerate(sorted(entries(tmp_path), key=lambda file: file != first)):
        os.utime(file, (1000 + age, 1000 + age))
    cache.features(IMAGES[:1], encode, "w")  # the oldest, used again
    cache.features(IMAGES[3:], encode, "w")
    left = entries(tmp_path)
    assert len(left) == 3
    assert first in left
    assert sum(file.stat().st_size for file in left) <= cache.limit_bytes
    assert encode.seen == [1, 2, 1]


def test_full_disk_is_told_once_and_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    cache, encode = FeatureCache(tmp_path), Counted()
    assert_right(cache.features(IMAGES, encode, "w"))
    assert_right(cache.features(IMAGES, encode, "w"))
    assert encode.seen == [4, 4]
    (message,) = caplog.messages
    assert "No more features are kept" in message
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def _fill(folder: Path) -> None:
    cache, encode = FeatureCache(folder, limit_bytes=5_000), Counted()
    for _ in range(30):
        assert_right(cache.features(IMAGES, encode, "w"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # of Python 3.12 and later
def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    """With room for half of the entries, so that each removes what the other reads."""
    context = multiprocessing.get_context("fork")
    other = context.Process(target=_fill, args=(tmp_path,))
    other.start()
    _fill(tmp_path)
    other.join(60)
    assert other.exitcode == 0
    assert all(file.suffix == ".safetensors" for file in entries(tmp_path))


def test_hash_is_that_of_the_part_named() -> None:
    torch.manual_seed(0)
    model: NucleusModel = Tiny(("a",))
    model.name = "tiny"
    before = weights_hash(model.get_submodule("encoder"), model.name)
    with torch.no_grad():
        model.get_parameter("np.bias").add_(1)
    assert weights_hash(model.get_submodule("encoder"), model.name) == before
    with torch.no_grad():
        model.get_parameter("encoder.0.bias").add_(1)
    assert weights_hash(model.get_submodule("encoder"), model.name) != before
