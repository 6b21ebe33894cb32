import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_nucleus.errors import UserError
from napari_nucleus.models import NucleusModel, create_model
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.weights import store
from napari_nucleus.weights.store import DEFAULT_MODEL, find_checkpoint, list_checkpoints, read_card


@pytest.fixture(scope="module")
def model() -> NucleusModel:
    torch.manual_seed(0)
    made = create_model("histonext_atto", ["a", "b"], pretrained=False, window=128)
    made.mpp = 0.4
    made.instances = {"np_threshold": 0.35, "min_size": 30}
    made.card = {"licence": "CC0", "scores": {"score": float("nan")}}
    return made.eval()


@pytest.fixture(scope="module")
def whole(model: NucleusModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_checkpoint(file, model)
    return file


@pytest.fixture
def saved(whole: Path, tmp_path: Path) -> Path:
    file = tmp_path / whole.name
    file.write_bytes(whole.read_bytes())
    return file


def test_model_comes_back_as_it_was(model: NucleusModel, saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert (loaded.name, loaded.types, loaded.options) == (model.name, model.types, model.options)
    assert (loaded.mpp, loaded.instances) == (0.4, model.instances)
    assert loaded.card["licence"] == "CC0"
    assert len(loaded.sha256) == 64
    assert not loaded.training
    expected = model.state_dict()
    for key, value in loaded.state_dict().items():
        assert value.dtype == expected[key].dtype
        assert torch.equal(value, expected[key].half().to(value.dtype)), key


def test_weights_are_stored_in_half_precision(saved: Path) -> None:
    kinds = {value.dtype for value in load_file(saved).values()}
    assert kinds == {torch.float16, torch.int64}
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_saving_again_changes_nothing(saved: Path) -> None:
    again = saved.with_name("again.safetensors")
    save_checkpoint(again, load_checkpoint(saved))
    before, after = load_file(saved), load_file(again)
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_own_weights_are_found_by_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "trained_dir", lambda: saved.parent)
    assert list_checkpoints()["mine"] == saved
    assert find_checkpoint("mine") == find_checkpoint(saved) == saved


def test_shipped_weights_are_found_by_name() -> None:
    shipped = {file.stem for file in store.shipped_dir().glob("*.safetensors")}
    assert shipped <= set(list_checkpoints())


def test_what_ships_is_listed_with_its_hash() -> None:
    folder = store.shipped_dir()
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in map(str.split, lines)}
    assert listed == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.glob("*.safetensors")
    }, "in the folder of the weights: sha256sum *.safetensors > SHA256SUMS"


def test_shipped_weights_that_came_in_part_are_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = saved.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    (saved.parent / "SHA256SUMS").write_text(f"{digest}  mine.safetensors\n")
    monkeypatch.setattr(store, "shipped_dir", lambda: saved.parent)
    assert load_checkpoint(saved).sha256 == digest
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 26114696\n"
    changed = bytes([*whole[:-1], whole[-1] ^ 1])
    for content in (pointer, whole[:5000], changed):
        saved.write_bytes(content)
        found = hashlib.sha256(content).hexdigest()[:12]
        message = rf"is incomplete or changed: it has {len(content):,} bytes and SHA-256 {found}…, "
        with pytest.raises(UserError, match=rf"{message}expected {digest[:12]}…. Install"):
            load_checkpoint("mine")
    monkeypatch.undo()
    load_checkpoint(saved)  # anywhere else it is a file like any other


def test_unknown_name_is_told() -> None:
    with pytest.raises(UserError, match="Unknown weights 'mein'"):
        load_checkpoint("mein")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_pickled_weights_are_refused_unread(tmp_path: Path, suffix: str) -> None:
    """What would run when it is unpickled, does not."""

    class Trap:
        def __reduce__(self) -> tuple:
            return (tmp_path / "sprung").touch, ()

    file = tmp_path / f"weights{suffix}"
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="is a pickled file, which can execute code"):
        load_checkpoint(file)
    assert not (tmp_path / "sprung").exists()


def test_pickled_weights_under_another_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    torch.save({"a": torch.zeros(3)}, file)
    with pytest.raises(UserError, match="is damaged or not a safetensors file"):
        load_checkpoint(file)


@pytest.mark.parametrize("keep", [0, 4, 2000, -1000])
def test_truncated_weights_are_told(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"mine\.safetensors is damaged"):
        load_checkpoint(saved)


def test_weights_of_another_program_are_told(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    with pytest.raises(UserError, match="contains weights of another program"):
        load_checkpoint(file)


def with_metadata(file: Path, **changes: str) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(load_file(file), file, {**metadata, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": json.dumps("histonext_femto")}, "does not fit histonext_femto with 2 types"),
        ({"types": json.dumps(["a"])}, "does not fit histonext_atto with 1 types"),
        ({"name": json.dumps("histonext_omega")}, "a histonext_omega of another version"),
        ({"options": json.dumps({"colour": 3})}, "a histonext_atto of another version"),
        ({"mpp": "0.4.2"}, "is damaged"),
    ],
)
def test_weights_of_another_model_are_told(
    saved: Path, changes: dict[str, str], message: str
) -> None:
    with_metadata(saved, **changes)
    with pytest.raises(UserError, match=message):
        load_checkpoint(saved)


def test_full_disk_leaves_earlier_weights(
    model: NucleusModel, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_checkpoint(saved, model)
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_card_is_read_without_the_weights(saved: Path) -> None:
    card = read_card(saved)
    assert (card["name"], card["types"], card["mpp"]) == ("histonext_atto", ["a", "b"], 0.4)


@pytest.mark.skipif(DEFAULT_MODEL not in list_checkpoints(), reason="the weights do not ship yet")
def test_default_weights_are_small_and_come_with_a_card() -> None:
    file = find_checkpoint(DEFAULT_MODEL)
    assert file.stat().st_size <= 60e6
    assert {"data", "licence", "scores", "command"} <= read_card(file)["card"].keys()
