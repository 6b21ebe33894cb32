import logging
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from napari_nucleus.errors import UserError
from napari_nucleus.models import create_model, list_models, registry
from napari_nucleus.models.complexity import complexity
from napari_nucleus.models.histonext import ConvCAM, HistoNeXt
from tests.tissue import Decoder, tissue

TYPES = ["a", "b", "c", "d", "e"]


def untrained(types: list[str], seed: int = 0) -> HistoNeXt:
    torch.manual_seed(seed)
    model = create_model("histonext_atto", types, pretrained=False)
    assert isinstance(model, HistoNeXt)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> HistoNeXt:
    return untrained(TYPES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "gmac"),
    [
        ("histonext_tiny", 82.6, 33.7),
        ("histonext_base", 184.8, 69.5),
        ("histonext_large", 414.0, 155.7),
        ("histonext_xlarge", 734.4, 276.0),
    ],
)
def test_published_size_and_cost(name: str, parameters: float, gmac: float) -> None:
    cost = complexity(name, TYPES)
    assert cost.parameters / 1e6 == pytest.approx(parameters, rel=0.005)
    assert cost.gmac == pytest.approx(gmac, rel=0.05)
    assert cost.gmac_whole > cost.gmac


class OneConvolution(Decoder):
    def __init__(self, types: tuple[str, ...], pretrained: bool) -> None:
        super().__init__(types)
        self.convolution = nn.Conv2d(3, 8, 5, padding=2, bias=False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"np": self.convolution(images)}


def test_cost_of_one_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILDERS, "one_convolution", OneConvolution)
    cost = complexity("one_convolution", TYPES)
    assert cost.parameters == 3 * 8 * 25 + 1
    assert cost.gmac == cost.gmac_whole == pytest.approx(270**2 * 3 * 8 * 25 / 1e9)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (75, 50), (1, 45)])
def test_maps_have_the_size_of_the_image(model: HistoNeXt, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        logits = model(torch.rand(2, 3, *size))
    assert {key: tuple(value.shape) for key, value in logits.items()} == {
        "np": (2, 2, *size),
        "hv": (2, 2, *size),
        "tp": (2, 6, *size),
        "features": (2, 40, -(-size[0] // 4), -(-size[1] // 4)),
    }


def test_without_types_there_is_no_type_branch() -> None:
    model = untrained([])
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert set(model.predict(image)[0]) == {"np", "hv", "features"}
    maps = {"np": np.ones((20, 20)), "hv": np.mgrid[-1:1:20j, -1:1:20j][::-1]}
    _, table = model.nuclei(maps)
    assert table["type"].tolist() == ["nucleus"]


@pytest.mark.parametrize("size", [(96, 128), (75, 110), (91, 97)])
def test_every_pixel_of_a_map_lies_on_its_pixel_of_the_image(
    model: HistoNeXt, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is made to answer with the image it was given, at its own resolution."""
    y, x = np.mgrid[: size[0], : size[1]]
    blob = np.exp(-((y - 37.0) ** 2 + (x - 41.0) ** 2) / 60).astype(np.float32)
    image = torch.from_numpy(blob).expand(1, 3, *size)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))

    def answer(*_: object) -> torch.Tensor:
        shown = seen[-1] * model.std + model.mean
        return F.avg_pool2d(shown[:, :2], 2)

    hook = model.np.head.register_forward_hook(answer)
    try:
        with torch.inference_mode():
            found = model(image)["np"][0, 0].numpy()
    finally:
        hook.remove()
    assert found.shape == size
    centre = [(axis * found).sum() / found.sum() for axis in (y, x)]
    assert centre == pytest.approx([37, 41], abs=0.05)


def test_shifting_the_image_by_a_stride_shifts_the_maps() -> None:
    model = untrained(TYPES)
    image = torch.full((1, 3, 288, 288), 0.8)
    blob = torch.from_numpy(tissue(60, 60, 5).stained()).movedim(-1, 0) / 255
    shifted = image.clone()
    image[0, :, 96:156, 96:156] = blob
    shifted[0, :, 128:188, 96:156] = blob
    with torch.inference_mode():
        before, after = model(image), model(shifted)
    for key in before:
        cell = 288 // before[key].shape[-1]
        first, second, third, fourth = (place // cell for place in (96, 128, 160, 192))
        inner = before[key][..., first:third, first:third]
        moved = after[key][..., second:fourth, first:third]
        stayed = after[key][..., first:third, first:third]
        assert (inner - moved).abs().mean() < 0.02 * (inner - stayed).abs().mean(), key


def test_centre_alone_is_the_centre_of_the_whole() -> None:
    """With a margin as wide as the kernels reach."""
    model = untrained([])
    image = torch.rand(1, 3, 270, 270)
    with torch.inference_mode():
        whole = model(image)
        centre = model.forward_centre(image)
    assert centre["np"].shape == (1, 2, 80, 80)
    for key, value in centre.items():
        expected = whole[key][..., 95:175, 95:175]
        assert (value - expected).abs().mean() < 0.02 * expected.std(), key


@pytest.mark.slow
def test_every_parameter_learns() -> None:
    """In some network: a ReLU before two neurons can be dead from the beginning."""
    lazy: set[str] | None = None
    for seed in range(4):
        model = untrained(TYPES, seed).train()
        logits = model(torch.rand(2, 3, 64, 64))
        torch.stack([value.square().mean() for value in logits.values()]).sum().backward()
        still = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        lazy = still if lazy is None else lazy & still
    assert lazy == set()


def test_attention_within_windows_does_not_see_what_is_far() -> None:
    """Types must not depend on how large a piece of the slide the network is shown."""
    torch.manual_seed(0)
    near, everything = ConvCAM(16, 4, window=8).eval(), ConvCAM(16, 4, window=None).eval()
    everything.load_state_dict(near.state_dict())
    image = torch.randn(1, 16, 8, 64)
    other = image.clone()
    other[..., 48:] *= 10

    def change(layer: ConvCAM) -> float:
        return float((layer(image) - layer(other))[..., :32].detach().abs().max())

    assert change(near) == 0
    assert change(everything) > 0.01
    piece = image[..., :8]
    assert torch.equal(near(piece), everything(piece))


def test_predicted_maps_are_probabilities_distances_and_types(model: HistoNeXt) -> None:
    images = torch.from_numpy(tissue(64, 80, 6).stained()).movedim(-1, 0)[None]
    (maps,) = model.predict(images)
    assert {key: value.shape for key, value in maps.items()} == {
        "np": (64, 80),
        "hv": (2, 64, 80),
        "tp": (64, 80),
        "features": (40, 16, 20),
    }
    assert 0 <= maps["np"].min() <= maps["np"].max() <= 1
    assert set(np.unique(maps["tp"])) <= set(range(1, 6))
    labels, table = model.nuclei(maps)
    assert labels.shape == (64, 80)
    assert set(table["type"]) <= set(TYPES)


def test_fitted_parameters_reach_the_post_processing(model: HistoNeXt) -> None:
    y, x = np.mgrid[:40, :40] - 19.5
    disc = x**2 + y**2 < 100
    maps = {
        "np": 0.45 * disc,
        "hv": np.stack([x, y]) / 10 * disc,
        "tp": np.full((40, 40), 2, np.uint8),
    }
    assert model.nuclei(maps)[1].empty
    model.instances = {"np_threshold": 0.4}
    labels, table = model.nuclei(maps)
    model.instances = {}
    assert np.array_equal(labels > 0, disc)
    assert table["type"].tolist() == ["b"]


def test_unknown_names_and_options_are_told() -> None:
    with pytest.raises(UserError, match="did you mean histonext_tiny"):
        create_model("histonext_tny")
    with pytest.raises(UserError, match=r"histonext_atto cannot be built .* argument 'widow'"):
        create_model("histonext_atto", pretrained=False, widow=3)
    family = [name for name in list_models() if name.startswith("histonext")]
    assert family[:2] == ["histonext_atto", "histonext_femto"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache and a hub that cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_without_the_hub_the_model_says_that_it_starts_from_scratch(
    hub: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create_model("histonext_atto", TYPES)
    (line,) = caplog.messages
    assert "\n" not in line
    assert line.endswith("it starts from scratch.")


def test_encoder_weights_are_taken_from_the_cache(hub: Path) -> None:
    encoder = timm.create_model("convnext_atto")
    commit = hub / "models--timm--convnext_atto.d2_in1k"
    (commit / "refs").mkdir(parents=True)
    (commit / "refs" / "main").write_text("1234")
    (commit / "snapshots" / "1234").mkdir(parents=True)
    weights = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    save_file(weights, commit / "snapshots" / "1234" / "model.safetensors")
    model = create_model("histonext_atto", TYPES)
    assert isinstance(model, HistoNeXt)
    own = dict(model.encoder.named_parameters())
    assert torch.equal(own["stem_0.weight"], weights["stem.0.weight"])
    assert torch.equal(
        own["stages_3.blocks.1.mlp.fc2.weight"], weights["stages.3.blocks.1.mlp.fc2.weight"]
    )
