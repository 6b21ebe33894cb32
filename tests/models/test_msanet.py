import logging
import os
import zlib
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F

from napari_nucleus.errors import UserError
from napari_nucleus.models import create_model
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.models.complexity import complexity
from napari_nucleus.models.losses import class_focal, distillation
from napari_nucleus.models.msanet import MSANet
from napari_nucleus.models.msanet.clip import SMALL, UNTRAINED, build_clip, load_clip
from napari_nucleus.models.msanet.graph import (
    GraphClassifier,
    lattice_coordinates,
    neighbour_edges,
    nucleus_shapes,
    paint_nuclei,
    sentences,
)
from napari_nucleus.models.msanet.ppa_vit import PyramidPoolingAttention, PyramidViT
from napari_nucleus.models.msanet.windows import see_windows
from napari_nucleus.models.pooling import pool_nuclei
from napari_nucleus.training.branch_losses import branch_losses
from napari_nucleus.training.recipe import Recipe

TYPES = ("tumour", "stroma", "immune")
SIDE = 64


def small(types: tuple[str, ...] = TYPES, **options: object) -> MSANet:
    torch.manual_seed(0)
    model = create_model("msanet_small", types, pretrained=False, **{"window": SIDE, **options})
    assert isinstance(model, MSANet)
    return model


def discs(images: int, side: int) -> torch.Tensor:
    """Labels of nuclei on a grid 16 px wide; the last image has none."""
    labels = torch.zeros(images, side, side, dtype=torch.int32)
    y, x = np.mgrid[:16, :16] - 7.5
    cell = torch.from_numpy(x**2 + y**2 < 30)
    places = [(top, left) for top in range(0, side, 16) for left in range(0, side, 16)]
    for number, (top, left) in enumerate(places, 1):
        labels[: images - 1, top : top + 16, left : left + 16] = number * cell
    return labels


def batch(images: int = 2, side: int = SIDE) -> Batch:
    labels = discs(images, side)
    inside = labels > 0
    whole = torch.ones_like(inside)
    picture = torch.rand(images, 3, side, side)
    return Batch(
        picture,
        inside.long(),
        torch.zeros(images, 2, side, side),
        torch.where(inside, labels % 3 + 1, 0).long(),
        whole,
        whole,
        whole,
        labels,
        ("image",) * images,
    )


def learn(model: MSANet, shown: Batch, **recipe: object) -> dict[str, torch.Tensor]:
    """Return the losses after a backward pass."""
    told = Recipe(tp_loss="focal", **recipe)  # type: ignore[arg-type]
    parts = branch_losses(model, model.train()(shown.images), shown, told)
    torch.stack(list(parts.values())).sum().backward()
    return parts


@pytest.mark.slow
def test_shapes_of_the_paper() -> None:
    with torch.device("meta"), torch.inference_mode():
        model = create_model("msanet", TYPES, pretrained=False).eval()
        assert isinstance(model, MSANet)
        *depths, clip = model.encode(torch.rand(2, 3, 270, 270))
        assert [tuple(depth.shape) for depth in depths] == [(2, 768, 17, 17)] * 4
        assert clip.shape == (2, 512, 17, 17)
        assert all(v.shape == (2, 768, 17, 17) for v in model.fusion(depths, clip))
        logits = model.decode([*depths, clip], (270, 270))
    assert logits["np"].shape == (2, 2, 270, 270)
    labels = torch.zeros(2, 270, 270, dtype=torch.int32)
    labels[:, :256, :256] = discs(2, 256)
    count = 256  # all in the first image
    with torch.inference_mode():
        nuclei = pool_nuclei(torch.rand(logits["features"].shape), labels)
        centroids, shapes = nucleus_shapes(labels[0].numpy())
        edges = torch.from_numpy(neighbour_edges(centroids))
        coordinates = torch.from_numpy(lattice_coordinates(centroids, 270))
        assert torch.cat([nuclei.visual, coordinates], 1).shape == (count, 256 + 2)
        assert edges.shape == (2, 5 * count)
        bank = small().bank
        assert bank is not None
        text = bank(sentences(centroids, shapes, 0.25, 270))
        assert text.shape == (count, 512)
        assert isinstance(model.tp, GraphClassifier)
        graph = model.tp.to_empty(device="cpu")
        assert graph.enhanced(nuclei.visual, coordinates, text).shape == (count, 256)
        answer = graph(nuclei.visual, coordinates, text, edges)
        assert answer.shape == (count, 3)
        painted = paint_nuclei(answer, nuclei.image, nuclei.label, labels)
        assert painted.shape == (2, 3, 270, 270)


@pytest.mark.slow
def test_cost_is_within_the_budget() -> None:
    cost = complexity("msanet", TYPES, boundary=True)
    assert cost.gmac < 120
    # ViT-B and CLIP's image encoder have 85 million weights each, used for each of 289 tokens, but
    # that keys and values, a sixth of them, are computed of the pyramid's 86 tokens in the former
    assert cost.gmac > 85 * 289 / 1000 * (2 - 1 / 6)


def test_gradient_reaches_all_that_learns_and_nothing_of_the_teacher() -> None:
    model = small(boundary=True)
    for name, weight in model.named_parameters():
        if ".attn.position." in name:  # begun as nothing
            torch.nn.init.normal_(weight)
    parts = learn(model, batch())
    assert list(parts) == ["np", "boundary", "types", "distillation"]
    names = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert not names
    assert all(p.grad is None for p in model.clip.network.parameters())
    taught = {id(p) for p in model.clip.network.parameters()}
    assert taught.isdisjoint(map(id, model.parameters()))
    assert not any("network" in key for key in model.state_dict())


def test_losses_are_the_same_without_nuclei() -> None:
    shown = batch(1)
    assert not shown.np.any()
    model = small(boundary=True)
    parts = learn(model, shown)
    assert list(parts) == list(learn(model, batch()))
    assert parts["types"] == 0
    assert all(torch.isfinite(part) for part in parts.values())


@pytest.mark.slow
def test_unknown_types_are_not_learned() -> None:
    shown = batch()
    unknown = replace(shown, typed=torch.zeros_like(shown.typed))
    assert learn(small(), unknown)["types"] == 0
    assert learn(small(), shown)["types"] > 0
    one = replace(shown, typed=shown.labels == 5)
    model = small()
    learn(model, one)
    (row,) = model.type_share.argmax(0, keepdim=True).tolist()
    assert row == 5 % 3


@pytest.mark.parametrize("name", ["dice", "ce_dice", "focal_dice"])
def test_types_by_other_losses(name: str) -> None:
    model = small()
    shown = batch()
    logits = model.train()(shown.images)
    assert model.own_losses(logits, shown, name, 2.0)["types"] > 0


def test_maps_lie_on_their_pixels() -> None:
    """A model whose weights are drawn sees a shifted image as it sees the image, shifted."""
    model = small((), window=320).eval()
    model.get_parameter("encoder.vit.vit.pos_embed").data.zero_()
    image = torch.full((1, 3, 270, 270), 0.9)
    image[..., 100:118, 131:149] = 0.2
    moved = image.roll((32, 64), (2, 3))
    clip = model.clip.network.visual.positional_embedding
    kept = clip.clone()
    clip.zero_()
    with torch.inference_mode():
        here, there = (
            (model(shown)["np"] - model(torch.full_like(shown, 0.9))["np"])[0, 1].abs()
            for shown in (image, moved)
        )
    clip.copy_(kept)
    assert here.shape == (270, 270)

    def centre(change: torch.Tensor) -> tuple[float, float]:
        weight = change * (change > change.max() / 2)
        y, x = torch.meshgrid(torch.arange(270.0), torch.arange(270.0), indexing="ij")
        return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())

    (y, x), (moved_y, moved_x) = centre(here), centre(there)
    assert (moved_y - y, moved_x - x) == pytest.approx((32, 64), abs=2)
    assert (y, x) == pytest.approx((108.5, 139.5), abs=10)


def test_windows_are_seen_each_by_itself() -> None:
    seen: list[int] = []

    def see(pieces: torch.Tensor) -> list[torch.Tensor]:
        seen.extend(pieces.shape)
        return [F.avg_pool2d(pieces, 16)]

    images = torch.rand(2, 3, 80, 48)
    (level,) = see_windows(images, 32, 16, see)
    assert seen == [2 * 3 * 2, 3, 32, 32]
    torch.testing.assert_close(level, F.avg_pool2d(images, 16))


def test_attention_with_pools_of_one_is_plain_attention() -> None:
    torch.manual_seed(0)
    attention = PyramidPoolingAttention(32, 2, ratios=(1,))
    plain = torch.nn.MultiheadAttention(32, 2, batch_first=True)
    plain.in_proj_weight.data, plain.in_proj_bias.data = attention.qkv.weight, attention.qkv.bias
    plain.out_proj.weight, plain.out_proj.bias = attention.proj.weight, attention.proj.bias
    tokens = F.layer_norm(torch.randn(2, 12, 32), (32,))
    expected, _ = plain(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens, (3, 4)), expected, atol=1e-4, rtol=1e-4)


def test_a_plain_vit_fits() -> None:
    plain = timm.create_model(
        "vit_tiny_patch16_224", embed_dim=64, depth=4, num_heads=2, num_classes=7, img_size=64
    )
    vit = PyramidViT(64, 4, 2, side=6)
    vit.load_plain(plain.state_dict())
    own, other = vit.vit.state_dict(), plain.state_dict()
    for part in ("attn.qkv.weight", "attn.qkv.bias", "mlp.fc2.weight"):
        for block in range(4):
            assert torch.equal(own[f"blocks.{block}.{part}"], other[f"blocks.{block}.{part}"])
    places = own["pos_embed"]
    assert places.shape == (1, 36, 64)
    corners = [0, 3, 12, 15]  # of 4 x 4 behind the class token, which interpolation keeps closest
    for corner, place in zip([0, 5, 30, 35], corners, strict=True):
        near = (places[0, corner] - other["pos_embed"][0, 1:]).norm(dim=1).argmin()
        assert near == place
    with pytest.raises(UserError, match="another ViT than one of width 32"):
        PyramidViT(32, 4, 2, side=6).load_plain(plain.state_dict())


def test_patches_of_clip_agree_with_its_own_answer() -> None:
    """open_clip, asked to give tokens, gives the patches' before projection."""
    clip = load_clip(f"{SMALL}/{UNTRAINED}")
    visual = clip.network.visual
    images = torch.rand(2, 3, 224, 224)
    (found,) = clip.patches(images, (clip.depth,))
    assert found.shape == (2, 512, 14, 14)
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(1, 3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(1, 3, 1, 1)
    visual.output_tokens = True
    _, tokens = visual((images - mean) / std)
    torch.testing.assert_close(found.flatten(2).mT, tokens @ visual.proj, atol=1e-4, rtol=1e-4)


def test_untrained_clip_is_the_same_everywhere() -> None:
    first, second = (load_clip(f"{SMALL}/{UNTRAINED}") for _ in range(2))
    for own, other in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(own, other)
    # numbers of NumPy's frozen stream for this name and seed, which no other library has a say in
    weight = first.network.visual.conv1.weight
    seed = [0, zlib.crc32(b"visual.conv1.weight")]
    expected = np.random.RandomState(seed).random_sample(3)
    fan = weight[0].numel()
    np.testing.assert_allclose(
        weight.flatten()[:3].numpy(), (2 * expected - 1) * (3 / fan) ** 0.5, rtol=1e-6
    )
    texts = ["a round nucleus", "an oval nucleus"]
    one, two = first.sentences(texts)
    assert one.norm() == pytest.approx(1, abs=1e-5)
    assert (one - two).norm() > 0.1


@pytest.fixture
def clip_file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "pathology.pt"
    torch.save({"state_dict": build_clip(SMALL).state_dict()}, path)
    return path


def test_a_checkpoint_needs_its_own_clip(clip_file: Path, tmp_path: Path) -> None:
    model = small(clip=f"{SMALL}/{clip_file}").eval()
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        before = model.half().float()(images)["features"]
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model)
    assert path.stat().st_size < 12e6  # CLIP itself has 18 MB
    again = load_checkpoint(path)
    with torch.inference_mode():
        torch.testing.assert_close(again(images)["features"], before)
    with pytest.raises(UserError, match=r"were trained with the CLIP .*pathology.pt of SHA-256"):
        small().load_state_dict(model.state_dict())
    torch.save(build_clip(SMALL).state_dict(), clip_file)
    with pytest.raises(UserError, match=r"was trained with the CLIP .* is another"):
        load_checkpoint(path)
    clip_file.unlink()
    with pytest.raises(UserError, match=r"no CLIP weights .*pathology.pt.*put it into"):
        load_checkpoint(path)


def test_files_that_are_no_clip(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pt"
    torch.save({"weight": torch.zeros(2)}, wrong)
    with pytest.raises(UserError, match="holds no weights of a CLIP"):
        load_clip(f"{SMALL}/{wrong}")
    with pytest.raises(UserError, match="no CLIP 'ViT-Q'"):
        load_clip("ViT-Q/openai")
    with pytest.raises(UserError, match="no ViT with patches of 16 px"):
        load_clip("ViT-B-32/openai")


def test_clip_is_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "run by the file"),)

    torch.save({"state_dict": {}, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match="holds no weights of a CLIP"):
        load_clip(f"{SMALL}/{tmp_path / 'trap.pt'}")
    assert [file.name for file in tmp_path.iterdir()] == ["trap.pt"]


def test_without_the_hub_it_says_that_the_teacher_is_untrained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        "napari_nucleus.models.msanet.clip.build_clip", lambda *_: build_clip(SMALL)
    )
    with caplog.at_level(logging.WARNING):
        model = create_model("msanet_small", clip="ViT-B-16/openai")
    (line,) = caplog.messages
    assert "Text encoder and teacher are untrained (ViT-B-16/untrained-seed0)" in line
    assert model.options["clip"] == "ViT-B-16/untrained-seed0"


@pytest.mark.parametrize("adaptation", ["zero_shot", "linear_probe", "fine_tune"])
def test_direct_uses_of_clip(adaptation: str) -> None:
    model = small(adaptation=adaptation)
    parts = learn(model, batch())
    assert "distillation" not in parts
    assert model.state_dict().keys() >= {"encoder.vit.vit.pos_embed"}
    learns = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert ("encoder.clip.proj" in learns) == (adaptation == "fine_tune")
    assert ("tp.weight" in learns) == (adaptation != "zero_shot")
    maps = {"np": discs(2, SIDE)[0].numpy() > 0, "features": torch.rand(512, 4, 4).numpy()}
    _, table = model.eval().nuclei({k: v.astype(np.float32) for k, v in maps.items()})
    assert len(table) == 16
    assert set(table["type"]) <= set(TYPES)


@pytest.mark.slow
def test_switches_change_the_network() -> None:
    assert len(small(multi_scale=False).fusion.scales) == 1
    assert len(small().fusion.scales) == 4
    assert len(small(distill=(2, 4)).project) == 2
    assert "distillation" not in learn(small(distill=()), batch())
    assert "boundary" in small(boundary=True).eval()(torch.rand(1, 3, 32, 32))
    assert small(nodes="visual").bank is None
    with pytest.raises(UserError, match="option nodes knows all, visual"):
        small(nodes="spatial")


def test_few_nuclei_are_typed() -> None:
    model = small().eval()
    for count in (0, 1, 3):
        centroids = torch.rand(count, 2).double().numpy() * SIDE
        names, probability = model.classify(centroids, torch.rand(count, 67).numpy())
        assert len(names) == len(probability) == count
        assert set(names) <= set(TYPES)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 20.0]])
    target = torch.tensor([0, 1])
    weights = torch.tensor([2.0, 1.0])
    # the first is half right: 2 (1 - 1/2)² ln 2, the second right
    assert class_focal(logits, target, weights, 2.0).item() == pytest.approx(
        2 * 0.25 * np.log(2) / 2, rel=1e-4
    )
    assert class_focal(logits[:0], target[:0], weights) == 0
    east, north = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0])
    pair = east.view(1, 2, 1, 1), north.view(1, 2, 1, 1)
    assert distillation([pair[0]], [pair[1]]).item() == pytest.approx(2**0.5)
    assert distillation([pair[0], pair[0]], [pair[1], 5 * pair[0]]).item() == pytest.approx(
        2**0.5 / 2
    )
