"""The whole path with a SAM of random weights that costs nothing."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_nucleus.errors import UserError
from napari_nucleus.models import create_model
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.models.eunet3plus import SamUNet3Plus
from napari_nucleus.models.feature_cache import FeatureCache
from napari_nucleus.models.sam.model import FrozenSam, SamGuide
from napari_nucleus.training import train
from napari_nucleus.training.recipe import Phase, Recipe
from napari_nucleus.weights import sam as sam_weights
from napari_nucleus.weights.sam import SAM_WEIGHTS
from napari_nucleus.weights.store import read_card
from tests.small_sam import small_sam
from tests.tissue import tissue, write_dataset

SAM = FrozenSam(small_sam(), "vit_t")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the user's folder of models, in which there is no SAM."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(sam_weights, "trained_dir", lambda: folder)
    return folder


def model(**options: object) -> SamUNet3Plus:
    torch.manual_seed(0)
    made = SamUNet3Plus((4, 4, 8, 8, 8), 4, "vit_t", **options)  # type: ignore[arg-type]
    made.name = "sam_eunet3plus_small"
    made.guide.sam = SAM
    return made


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many images SAM's encoder was given, at each call."""
    seen: list[int] = []
    embed = FrozenSam.embed_native

    def counted(self: FrozenSam, images: Tensor) -> Tensor:
        seen.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(FrozenSam, "embed_native", counted)
    return seen


def test_sam_is_no_part_of_what_learns_or_is_saved() -> None:
    net = model().train()
    images = torch.rand(2, 3, 32, 32)
    sum(value.square().mean() for value in net(images).values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in SAM.network.parameters())
    ours = {p.data_ptr() for p in [*net.parameters(), *net.buffers()]}
    assert not ours & {p.data_ptr() for p in SAM.network.parameters()}
    assert not any("sam" in key or "guide" in key for key in net.state_dict())
    assert copy.deepcopy(net).guide is net.guide


@pytest.mark.parametrize("options", [{}, {"kv": "sam"}, {"fusion": "concat"}])
def test_what_sam_sees_matters(options: dict[str, str]) -> None:
    net, images = model(**options).eval(), torch.rand(1, 3, 48, 32)
    with torch.inference_mode():
        before = net(images)["np"]
        net.guide = SamGuide("vit_t")
        net.guide.sam = FrozenSam(small_sam(), "vit_t")
        net.guide.sam.network.image_encoder.bias.data.add_(1)
        assert not torch.equal(net(images)["np"], before)


@pytest.mark.parametrize("size", [(64, 48), (37, 100), (1, 1)])
def test_maps_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    """All smaller than what SAM is made for."""
    net = model(types=("a", "b")).eval()
    (maps,) = net.predict(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8))
    assert maps["np"].shape == maps["tp"].shape == size
    labels, _ = net.nuclei(maps)
    assert labels.shape == size


def test_cached_and_computed_embeddings_are_the_same(tmp_path: Path, encoded: list[int]) -> None:
    net, images = model().train(), torch.rand(3, 3, 32, 32)
    plain = net.encode(images)
    net.cache = FeatureCache(tmp_path / "cache")
    fresh = net.encode(images)
    kept = net.encode(images)
    assert encoded == [3, 3]
    assert torch.equal(plain[-1], fresh[-1])
    assert torch.equal(plain[-1], kept[-1])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.encode(images)[-1], plain[-1])
    net.eval().encode(images)
    assert encoded == [3, 3, 3]  # in use, images do not come again


@pytest.mark.parametrize("trouble", ["full", "no folder", "damaged"])
def test_cache_in_trouble_changes_no_result(tmp_path: Path, trouble: str) -> None:
    net, images = model().train(), torch.rand(2, 3, 32, 32)
    expected = net.encode(images)[-1]
    folder = tmp_path / "cache"
    if trouble == "no folder":
        folder.write_bytes(b"a file where the folder should be")
    net.cache = FeatureCache(folder, limit_bytes=100 if trouble == "full" else 10**9)
    for _ in range(2):
        assert torch.equal(net.encode(images)[-1], expected)
        if trouble == "damaged":
            for file in folder.glob("*/*"):
                file.write_bytes(file.read_bytes()[:-7])


def test_checkpoint_says_which_sam_and_rebuilds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create_model("sam_eunet3plus_small", kv="sam", glu=False)
    file = tmp_path / "it.safetensors"
    save_checkpoint(file, net)
    assert file.stat().st_size < 4e6
    about = read_card(file)["options"]
    assert about["sam"] == {"kind": "vit_t", "sha256": SAM_WEIGHTS["vit_t"].sha256}
    again = load_checkpoint(file)
    assert isinstance(again, SamUNet3Plus)
    assert isinstance(net, SamUNet3Plus)
    net.guide.sam = again.guide.sam = SAM
    image = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    before, after = net.eval().predict(image)[0], again.predict(image)[0]
    np.testing.assert_allclose(before["np"], after["np"], atol=0.01)


def test_without_its_sam_the_model_says_how_to_get_it(home: Path) -> None:
    net = create_model("sam_eunet3plus_small").eval()
    with pytest.raises(UserError, match=r"MobileSAM needs its weights.*mobile_sam\.pt from https"):
        net.predict(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    (home / "mobile_sam.pt").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"incomplete or not .* 9 bytes.*40,728,226"):
        net.predict(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_other_weights_are_found_by_content(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"weights")
    guide = SamGuide("vit_b", str(file))
    with pytest.raises(UserError, match=r"mine\.pth.* is damaged or no checkpoint"):
        guide.load()
    elsewhere = SamGuide("vit_b", guide.about)
    with pytest.raises(UserError, match=f"unofficial weights of SAM ViT-B.*put their.*{home}"):
        elsewhere.load()
    (home / "renamed.pth").write_bytes(b"weights")
    with pytest.raises(UserError, match=r"renamed\.pth"):
        elsewhere.load()


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    about = {"kind": "vit_l", "sha256": "0" * 64}
    with pytest.raises(UserError, match="SAM ViT-B is asked for, and not vit_l"):
        create_model("sam_eunet3plus_b", sam=about)
    file = tmp_path / "mine.pth"
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(1024, 3, 16, 16)}, file)
    net = create_model("sam_eunet3plus_b", sam=str(file)).eval()
    with pytest.raises(UserError, match="holds SAM ViT-L, where SAM ViT-B is asked"):
        net.predict(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(UserError, match="Unknown SAM weights"):
        create_model("sam_eunet3plus_b", sam=str(tmp_path / "none.pth"))


@pytest.mark.slow
def test_training_embeds_each_view_once(
    tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs on one pool of four patches; validation looks for itself."""
    monkeypatch.setattr(SamGuide, "load", lambda _: SAM)
    monkeypatch.setattr("napari_nucleus.models.feature_cache.cache_dir", lambda: tmp_path / "cache")
    data = write_dataset(tmp_path / "made", {str(i): tissue(48, 48, i) for i in range(4)})
    recipe = Recipe(
        model="sam_eunet3plus_small",
        types=(),
        patch=32,
        augment="basic",
        warmup=2,
        ema=0.5,
        epoch=4,
        validate_every=2,
        phases=(Phase(epochs=2, batch=2, views=1),),
    )
    best = train(recipe, [data], tmp_path / "run")
    assert encoded[:2] == [2, 2]
    assert all(images == 1 for images in encoded[2:])  # tiles
    assert len(list((tmp_path / "cache").glob("*/*"))) == 4
    found = load_checkpoint(best)
    assert set(found.instances) == set(found.postprocessing.published)
    assert found.options["sam"]["kind"] == "vit_t"
