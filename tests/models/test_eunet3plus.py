from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from napari_nucleus.errors import UserError
from napari_nucleus.models import create_model
from napari_nucleus.models.batch import Batch
from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint
from napari_nucleus.models.eunet3plus import UNet3Plus
from napari_nucleus.models.eunet3plus.unet3plus import MaxBlurPool, conv_unit
from napari_nucleus.models.stain_normalization import StainNormalization
from napari_nucleus.training.branch_losses import branch_losses
from napari_nucleus.training.recipe import Recipe
from tests.tissue import tissue

LEVELS = ("", "_2", "_3", "_4", "_5")


def tiny(types: tuple[str, ...] = (), **options: object) -> UNet3Plus:
    torch.manual_seed(0)
    model = UNet3Plus((4, 4, 8, 8, 8), 4, types, **options)  # type: ignore[arg-type]
    model.name = "eunet3plus_small"
    return model


def cost(name: str) -> tuple[float, float]:
    """Millions of parameters, and GMAC for 256 px."""
    with torch.device("meta"):
        model = create_model(name).eval()
        images = torch.empty(1, 3, 256, 256)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(images)
    return sum(p.numel() for p in model.parameters()) / 1e6, counter.get_total_flops() / 2e9


def test_released_size_and_cost() -> None:
    """The released class holds layers besides, which it does not use."""

    def layer(channels: int, out: int, kernel: int = 1) -> int:
        return (channels * kernel**2 + 1) * out

    unused = layer(256, 64) + layer(256, 128) + layer(256, 16, 8) + layer(256, 32, 4)
    for width in (32, 64, 128, 256):
        both = width + width // 2
        unused += layer(both, both // 16) + layer(both // 16, width)
    parameters, gmac = cost("sam_eunet3plus_b")
    assert parameters + unused / 1e6 == pytest.approx(13.0, rel=0.02)
    assert gmac == pytest.approx(54, rel=0.02)
    parameters, gmac = cost("eunet3plus")
    assert parameters == pytest.approx(11.5, rel=0.02)
    assert gmac == pytest.approx(54, rel=0.02)


def test_baseline_has_its_papers_size() -> None:
    assert cost("unet3plus")[0] == pytest.approx(26.97, rel=0.005)


def test_small_is_a_sixteenth() -> None:
    assert cost("eunet3plus_small")[1] == pytest.approx(cost("eunet3plus")[1] / 16, rel=0.02)


@pytest.mark.parametrize("size", [(64, 48), (37, 100), (1, 1)])
def test_maps_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    model, images = tiny(("a", "b", "c")).eval(), torch.rand(2, 3, *size)
    with torch.inference_mode():
        logits = model(images)
    assert {key: tuple(value.shape) for key, value in logits.items()} == {
        "np": (2, 2, *size),
        "tp": (2, 4, *size),
        "features": (2, 20, -(-size[0] // 4), -(-size[1] // 4)),
    }


def test_deep_supervision_is_for_training_alone() -> None:
    model, images = tiny(("a",)), torch.rand(2, 3, 40, 32)
    logits = model(images)
    assert set(logits) == {f"{branch}{level}" for branch in ("np", "tp") for level in LEVELS}
    assert {tuple(value.shape) for value in logits.values()} == {(2, 2, 40, 32)}
    assert set(tiny()(images)) == {f"np{level}" for level in LEVELS}
    assert set(tiny().eval()(images)) == {"np", "features"}


def test_every_level_lies_on_the_pixels_of_the_image() -> None:
    """The heads are made to answer with the image they were given, at their own resolution."""
    model = tiny(normalize=False)
    size = (75, 110)
    y, x = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((y - 37.0) ** 2 + (x - 41.0) ** 2) / 200).astype(np.float32)
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))

    def answer(level: int) -> object:
        return lambda *_: F.avg_pool2d((seen[-1][:, :2] + 1) / 2, 2**level)

    for level, head in enumerate(model.decoder.heads):
        head.register_forward_hook(answer(level))  # type: ignore[arg-type]
    images = torch.from_numpy(blob).expand(2, 3, *size)
    for found in model(images).values():
        shown = found[0, 0].detach().numpy()
        assert shown.shape == size
        centre = [(axis * shown).sum() / shown.sum() for axis in (y, x)]
        assert centre == pytest.approx([37, 41], abs=0.15)


def test_pooling_keeps_places_and_flat_edges() -> None:
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    blob = torch.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 40)[None, None]
    pooled = F.interpolate(MaxBlurPool()(blob), (48, 48), mode="bilinear")[0, 0]
    centre = [float((axis * pooled).sum() / pooled.sum()) for axis in (y, x)]
    assert centre == pytest.approx([20, 25], abs=0.3)
    assert torch.equal(MaxBlurPool()(torch.ones(1, 2, 8, 8)), torch.ones(1, 2, 4, 4))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("leaky_relu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("swish", lambda x: x * torch.sigmoid(x)),
        ("glu", lambda x: x[:, :6] * torch.sigmoid(x[:, 6:])),
    ],
)
def test_activation_by_name(name: str, function: object) -> None:
    unit = conv_unit(3, 6, name).eval()
    before: list[Tensor] = []
    unit[1].register_forward_hook(lambda *given: before.append(given[2]))
    answer = unit(torch.randn(2, 3, 9, 9))
    assert answer.shape == (2, 6, 9, 9)
    torch.testing.assert_close(answer, function(before[0]))  # type: ignore[operator]


def test_gates_are_in_the_encoder() -> None:
    def gates(part: nn.Module) -> int:
        return sum(isinstance(module, nn.GLU) for module in part.modules())

    assert (gates(tiny().encoder), gates(tiny().decoder)) == (10, 0)
    assert gates(tiny(activation="swish")) == 0


def test_probability_is_that_of_no_background() -> None:
    model = tiny(("a", "b")).eval()
    with torch.inference_mode():
        logits = model(torch.rand(1, 3, 32, 32))
        maps = model.maps(logits)
    background, *types = logits["tp"].softmax(1)[0].numpy()
    np.testing.assert_allclose(maps["np"][0], 1 - background, atol=1e-6)
    np.testing.assert_array_equal(maps["tp"][0], np.argmax(types, 0) + 1)


def test_every_parameter_learns() -> None:
    model = tiny(("a", "b"))
    labels = torch.from_numpy(tissue(32, 48, density=2e-2).labels)[None].repeat(2, 1, 1)
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    nucleus = (labels > 0).long()
    batch = Batch(
        images=torch.rand(2, 3, 32, 48),
        np=nucleus,
        hv=torch.zeros(2, 2, 32, 48),
        tp=2 * nucleus,
        seen=everywhere,
        shaped=everywhere,
        typed=everywhere,
        labels=labels,
        names=("a", "b"),
    )
    recipe = Recipe(np_loss="focal_dice", tp_loss="focal_dice")
    losses = branch_losses(model, model(batch.images), batch, recipe)
    assert set(losses) == {f"{branch}{level}" for branch in ("np", "tp") for level in LEVELS}
    torch.stack(list(losses.values())).sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # batch normalisation takes away what a convolution adds to all pixels
    assert all(name.endswith("0.bias") for name in still)


def test_images_are_normalised_by_the_network() -> None:
    images = torch.from_numpy(tissue(48, 48).stained()).movedim(-1, 0)[None] / 255
    for normalize, expected in ((True, StainNormalization()(images)), (False, images)):
        model = tiny(normalize=normalize).eval()
        seen: list[Tensor] = []
        model.encoder.register_forward_pre_hook(lambda _, given, to=seen: to.append(given[0]))
        with torch.inference_mode():
            model(images)
        torch.testing.assert_close((seen[0] + 1) / 2, expected)


def test_nuclei_are_found_by_shape() -> None:
    model = tiny(("a", "b"))
    y, x = np.mgrid[:30, :50]
    discs = [(x - cx) ** 2 + (y - 15) ** 2 < 100 for cx in (16, 33)]
    maps = {"np": np.where(discs[0] | discs[1], 0.9, 0.1), "tp": np.where(x < 25, 1, 2)}
    _, table = model.nuclei(maps)
    assert table["type"].tolist() == ["a", "b"]
    model.instances = {"min_size": 400}
    assert model.nuclei(maps)[1].empty
    _, table = tiny().nuclei({"np": maps["np"]})
    assert table["type"].tolist() == ["nucleus", "nucleus"]


def test_checkpoint_rebuilds_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("eunet3plus_small", ["a"], activation="swish", normalize=False)
    save_checkpoint(tmp_path / "it.safetensors", model)
    again = load_checkpoint(tmp_path / "it.safetensors")
    assert again.options == {"activation": "swish", "normalize": False}
    image = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    before, after = model.eval().predict(image)[0], again.predict(image)[0]
    np.testing.assert_allclose(before["np"], after["np"], atol=0.01)


def test_unknown_activation_is_told() -> None:
    with pytest.raises(UserError, match=r"activation = 'gelu'.*relu, leaky_relu, swish, glu"):
        create_model("eunet3plus_small", activation="gelu")
