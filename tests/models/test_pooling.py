import numpy as np
import pytest
import torch

from napari_nucleus.models import create_model
from napari_nucleus.models.pooling import feature_cells, nucleus_context
from tests.tissue import tissue

TYPES = ("tumour", "stroma")

# module whose input is the network's last layer, and how often that is smaller than the image
LAST_LAYER = {
    ("histonext_atto", True): ("tp.head", 2),
    ("histonext_atto", False): ("np.head", 2),
    ("eunet3plus_small", True): ("decoder.heads.0", 1),
    ("eunet3plus_small", False): ("decoder.heads.0", 1),
}


@pytest.mark.parametrize(("name", "typed"), LAST_LAYER)
def test_map_of_features_is_the_last_layer_in_cells(name: str, typed: bool) -> None:
    torch.manual_seed(0)
    model = create_model(name, TYPES if typed else (), pretrained=False).eval()
    module, stride = LAST_LAYER[name, typed]
    seen = []
    model.get_submodule(module).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.randint(0, 256, (1, 3, 62, 90), dtype=torch.uint8)
    (maps,) = model.predict(images)
    layer = seen[0][0].float().numpy()
    side = 4 // stride
    cells = layer[:, : 15 * side, : 22 * side].reshape(len(layer), 15, side, 22, side).mean((2, 4))
    assert maps["features"].dtype == np.float16
    assert maps["features"].shape == (len(layer), 16, 23)
    np.testing.assert_allclose(maps["features"][:, :15, :22], cells, rtol=0.01, atol=0.01)
    assert "features" not in model.train()(images.expand(2, -1, -1, -1) / 255)


def test_context_is_the_mean_around_and_the_spread_within() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(5, 20, 24)).astype(np.float16)
    labels = np.zeros((79, 95), np.int32)
    labels[40:48, 44:56] = 7
    labels[16:19, 61:70] = 3  # parts of cells count by their pixels
    context = nucleus_context(labels, cells)
    pixels = cells.repeat(4, 1).repeat(4, 2)[:, :79, :95].astype(float)
    for row, label in zip(context, (3, 7), strict=True):
        y, x = np.nonzero(labels == label)
        around = [
            cells[:, v // 4 - 3 : v // 4 + 4, u // 4 - 3 : u // 4 + 4].astype(float).mean((1, 2))
            for v, u in zip(y, x, strict=True)
        ]
        np.testing.assert_allclose(row[:5], np.mean(around, 0), atol=2e-3)
        np.testing.assert_allclose(row[5:], pixels[:, y, x].std(1), atol=2e-3)
    assert nucleus_context(np.zeros_like(labels), cells).shape == (0, 10)


@pytest.mark.parametrize("types", [TYPES, ()])
def test_features_of_msanet_are_those_of_its_graph(types: tuple[str, ...]) -> None:
    model = create_model("msanet_small", types, pretrained=False, window=64).eval()
    made = tissue(100, 120, seed=3)
    (maps,) = model.predict(torch.from_numpy(made.stained()).movedim(-1, 0)[None])
    features = model.features(made.labels, maps)
    width = len(maps["features"])
    assert features.shape == (len(made.types), 3 * width + 3)
    assert model.classifies_nuclei == bool(types)
    diameters = 2 * np.sqrt(np.bincount(made.labels.ravel())[1:] / np.pi)
    np.testing.assert_allclose(features[:, width], diameters, rtol=1e-3)


def test_cells_cover_an_image_of_any_size() -> None:
    hidden = torch.arange(64.0).view(1, 1, 8, 8)
    assert feature_cells(hidden, (5, 8)).tolist() == [[[[13.5, 17.5], [45.5, 49.5]]]]
    assert feature_cells(hidden, (4, 3)).tolist() == [[[[13.5]]]]
    assert feature_cells(hidden, (9, 15), stride=2).shape == (1, 1, 3, 4)
