import os
import pickle
from pathlib import Path

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256
from napari_nucleus.models.sam.model import FrozenSam, build_sam, encode_vit, load_sam
from napari_nucleus.models.sam.tinyvit import TinyViTEncoder, rename_weights
from tests.small_sam import small_sam


@pytest.fixture
def sam() -> FrozenSam:
    return FrozenSam(small_sam(), "vit_b")


@pytest.fixture(scope="module")
def mobile_state() -> dict[str, Tensor]:
    """Return random weights under MobileSAM's names, with the classifier that it carries along."""
    torch.manual_seed(1)
    state = {}
    for key, value in build_sam("vit_t").state_dict().items():
        if key.startswith("image_encoder."):
            key = key.replace("trunk.", "").replace(".conv.weight", ".c.weight")
            key = key.replace("patch_embed.conv1", "patch_embed.seq.0")
            key = key.replace("patch_embed.conv2", "patch_embed.seq.2")
            for stage in range(4):
                key = key.replace(f"stages.{stage}.blocks", f"layers.{stage}.blocks")
                key = key.replace(f"stages.{stage}.downsample", f"layers.{stage - 1}.downsample")
        state[key] = value
    head = {"norm_head.weight": 320, "norm_head.bias": 320, "head.bias": 1000}
    return state | {f"image_encoder.{key}": torch.ones(size) for key, size in head.items()}


@pytest.fixture
def mobile(mobile_state: dict[str, Tensor], tmp_path: Path) -> Path:
    file = tmp_path / "random.pt"
    torch.save(mobile_state, file)
    return file


@pytest.mark.parametrize(
    ("kind", "millions"), [("vit_t", 9.8), ("vit_b", 93.7), ("vit_l", 312.3), ("vit_h", 641.1)]
)
def test_sizes_are_the_published_ones(kind: str, millions: float) -> None:
    """As the checkpoints count; MobileSAM's 10.13 million less its classifier of 0.32."""
    with torch.device("meta"):
        network = build_sam(kind)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_tinyvit_keeps_the_stride_of_16() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert TinyViTEncoder().eval()(torch.rand(1, 3, 256, 192)).shape == (1, 256, 16, 12)


def test_weights_of_mobile_sam_have_a_place() -> None:
    """Names and shapes as the published file has them."""
    published = {
        "patch_embed.seq.2.c.weight": (64, 32, 3, 3),
        "layers.0.blocks.1.conv2.bn.running_var": (256,),
        "layers.0.downsample.conv2.c.weight": (128, 1, 3, 3),
        "layers.1.blocks.0.attn.qkv.weight": (384, 128),
        "layers.2.blocks.5.attn.attention_biases": (5, 196),
        "layers.2.downsample.conv2.c.weight": (320, 1, 3, 3),
        "layers.3.blocks.1.local_conv.c.weight": (320, 1, 3, 3),
        "neck.2.weight": (256, 256, 3, 3),
    }
    ours = {key: tuple(value.shape) for key, value in TinyViTEncoder().state_dict().items()}
    renamed = rename_weights({key: torch.empty(shape) for key, shape in published.items()})
    assert len(renamed) == len(published)
    assert {key: tuple(value.shape) for key, value in renamed.items()}.items() <= ours.items()


def test_mobile_sam_loads(mobile: Path, mobile_state: dict[str, Tensor]) -> None:
    sam = load_sam(mobile)
    assert sam.kind == "vit_t"
    assert len(sam.sha256) == 64
    state = sam.network.state_dict()
    assert len(state) == len(mobile_state) - 3
    for ours, theirs in (
        ("trunk.stages.3.downsample.conv1.bn.bias", "layers.2.downsample.conv1.bn.bias"),
        ("trunk.stages.2.blocks.4.mlp.fc1.weight", "layers.2.blocks.4.mlp.fc1.weight"),
        ("trunk.patch_embed.conv1.conv.weight", "patch_embed.seq.0.c.weight"),
        ("neck.3.bias", "neck.3.bias"),
    ):
        assert torch.equal(
            state[f"image_encoder.{ours}"], mobile_state[f"image_encoder.{theirs}"]
        ), ours


def test_embedding_sees_normalised_and_padded_images(sam: FrozenSam) -> None:
    images = torch.rand(2, 3, 512, 768)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    padded = torch.zeros(2, 3, 1024, 1024)
    padded[..., :512, :768] = (images - mean) / std
    with torch.no_grad():
        expected = sam.network.image_encoder(padded)
    embedding = sam.embed(images)
    assert embedding.shape == (2, 256, 64, 64)
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-4)


def test_images_of_more_than_1024_pixels_are_refused(sam: FrozenSam) -> None:
    with pytest.raises(ValueError, match="1024"):
        sam.embed(torch.rand(1, 3, 1025, 8))


def test_precision_is_not_the_surroundings(sam: FrozenSam) -> None:
    """So that what is cached in training is what is computed in use."""
    images = torch.rand(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = sam.embed(images)
    assert torch.equal(inside, sam.embed(images))


def test_sam_is_frozen(sam: FrozenSam) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sam = sam
            self.layer = nn.Conv2d(256, 1, 1)

    model = Model().train()
    assert not sam.network.training
    assert not any(p.requires_grad for p in sam.network.parameters())
    assert [name for name, _ in model.named_parameters()] == ["layer.weight", "layer.bias"]
    assert set(model.state_dict()) == {"layer.weight", "layer.bias"}
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    embedding = model.sam.embed(images)
    assert not embedding.requires_grad
    model.layer(embedding).sum().backward()
    assert model.layer.weight.grad is not None
    assert images.grad is None


def test_truncated_file_is_named_by_size_and_hash(mobile: Path) -> None:
    mobile.write_bytes(mobile.read_bytes()[:5000])
    digest = sha256(mobile)[:12]
    with pytest.raises(UserError, match=rf"\(5,000 bytes, SHA-256 {digest}…\) is damaged"):
        load_sam(mobile)


def test_empty_file_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "empty.pt"
    file.touch()
    with pytest.raises(UserError, match="damaged"):
        load_sam(file)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("by_torch", [True, False])
def test_nothing_is_unpickled(tmp_path: Path, by_torch: bool) -> None:
    file = tmp_path / "code.pt"
    if by_torch:
        torch.save({"image_encoder": Payload()}, file)
    else:
        file.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match="no checkpoint"):
        load_sam(file)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"weight": torch.zeros(3)},
        {"image_encoder.patch_embed.proj.weight": torch.zeros(384, 3, 16, 16)},
        {"image_encoder.patch_embed.proj.weight": 5},
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(UserError, match="holds no SAM"):
        load_sam(file)


def test_large_weights_do_not_go_into_the_base_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(1024, 3, 16, 16)}, file)
    with pytest.raises(UserError, match=r"mine.pth .* holds SAM ViT-L, where SAM ViT-B is asked"):
        load_sam(file, kind="vit_b")


def test_variants_are_refused(mobile: Path, mobile_state: dict[str, Tensor]) -> None:
    part = {key: value for key, value in mobile_state.items() if "neck" not in key}
    torch.save(part, mobile)
    with pytest.raises(UserError, match="does not fit MobileSAM"):
        load_sam(mobile)


def test_embedding_is_the_reference_implementations(mobile_sam: Path) -> None:
    """Values that MobileSAM's own code gives for this image."""
    y, x = torch.meshgrid(torch.arange(768.0), torch.arange(1024.0), indexing="ij")
    image = torch.stack([torch.sin(x / 40), torch.cos(y / 55), torch.sin((x + y) / 25)]) / 2 + 0.5
    embedding = load_sam(mobile_sam).embed(image[None])[0]
    expected = {
        (0, 0, 0): 0.05112,
        (17, 5, 60): 0.03468,
        (64, 31, 31): 0.07194,
        (100, 47, 10): 0.04802,
        (128, 48, 10): -0.13253,
        (200, 20, 40): -0.11970,
        (255, 63, 63): -0.09018,
    }
    found = {place: float(embedding[place]) for place in expected}
    assert found == pytest.approx(expected, abs=1e-4)
    assert float(embedding.mean()) == pytest.approx(-0.001835, abs=1e-5)
    assert float(embedding.std()) == pytest.approx(0.106021, abs=1e-5)


def small_vit(side: int) -> ImageEncoderViT:
    """SAM's image encoder for images of that side: a block within windows, one over all cells."""
    return ImageEncoderViT(
        img_size=side,
        embed_dim=16,
        depth=2,
        num_heads=2,
        out_chans=8,
        qkv_bias=True,
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    ).eval()


def test_vit_at_its_own_size_is_the_reference_implementations() -> None:
    encoder = _with_positions(small_vit(96))
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(encode_vit(encoder, images), encoder(images))


def test_vit_on_a_part_keeps_distances() -> None:
    """As one built for the smaller size, with the middle of the tables of relative positions."""
    whole, part = _with_positions(small_vit(96)), small_vit(64)
    state = {}
    for key, value in whole.state_dict().items():
        if key == "pos_embed":
            value = value[:, :4, :4]
        elif key.startswith("blocks.1.attn.rel_pos"):
            value = value[6 - 1 - 3 : 6 - 1 + 4]
        state[key] = value
    part.load_state_dict(state)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encode_vit(whole, images), part(images))


def _with_positions(encoder: ImageEncoderViT) -> ImageEncoderViT:
    torch.manual_seed(0)
    for name, parameter in encoder.named_parameters():
        if "pos" in name:
            torch.nn.init.normal_(parameter)
    return encoder


def test_native_embedding_is_of_the_image_alone(sam: FrozenSam) -> None:
    images = torch.rand(2, 3, 48, 80)
    native = sam.embed_native(images)
    assert native.dtype == torch.float16
    assert native.shape == (2, 256, 3, 5)
    # of one convolution without overlap, the corner of the padded image's
    expected = sam.embed(images)[..., :3, :5]
    torch.testing.assert_close(native.float(), expected, rtol=0, atol=2e-3)


def test_large_images_are_embedded_in_parts(sam: FrozenSam) -> None:
    sides: list[tuple[int, ...]] = []
    sam.network.image_encoder.register_forward_pre_hook(
        lambda _, given: sides.append(tuple(given[0].shape[-2:]))
    )
    image = torch.rand(1, 3, 1056, 32)
    whole = sam.embed_native(image)
    assert whole.shape == (1, 256, 66, 2)
    assert sides == [(528, 32), (528, 32)]
    torch.testing.assert_close(whole[..., 60:, :], sam.embed_native(image[..., 960:, :]))


def test_native_images_are_whole_cells(sam: FrozenSam) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        sam.embed_native(torch.rand(1, 3, 40, 32))
