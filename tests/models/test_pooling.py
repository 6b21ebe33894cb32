import numpy as np
import pytest
import torch

from napari_nucleus.models import create_model
from napari_nucleus.models.pooling import feature_cells
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
def test_features_are_the_last_layer_averaged_over_the_nucleus(name: str, typed: bool) -> None:
    torch.manual_seed(0)
    model = create_model(name, TYPES if typed else (), pretrained=False).eval()
    module, stride = LAST_LAYER[name, typed]
    seen = []
    model.get_submodule(module).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = torch.randint(0, 256, (1, 3, 62, 90), dtype=torch.uint8)
    (maps,) = model.predict(images)
    labels = np.zeros((62, 90), np.int32)
    labels[8:32, 16:40] = 7  # whole cells
    labels[40:62, 44:60] = 3
    features = model.features(labels, maps)
    layer = seen[0][0].float().numpy()
    expected = [
        layer[:, slice(*y), slice(*x)].mean((1, 2))
        for y, x in (
            [(40 // stride, 64 // stride), (44 // stride, 60 // stride)],
            [(8 // stride, 32 // stride), (16 // stride, 40 // stride)],
        )
    ]
    assert features.dtype == np.float32
    assert features.shape == (2, len(layer))
    np.testing.assert_allclose(features[1], expected[1], rtol=0.01, atol=0.01)
    # the padding's cells count half in the lowest row of the other one
    assert np.corrcoef(features[0], expected[0])[0, 1] > 0.99
    assert "features" not in model.train()(images.expand(2, -1, -1, -1) / 255)


@pytest.mark.parametrize("types", [TYPES, ()])
def test_features_of_msanet_are_those_of_its_graph(types: tuple[str, ...]) -> None:
    model = create_model("msanet_small", types, pretrained=False, window=64).eval()
    made = tissue(100, 120, seed=3)
    (maps,) = model.predict(torch.from_numpy(made.stained()).movedim(-1, 0)[None])
    features = model.features(made.labels, maps)
    assert features.shape == (len(made.types), len(maps["features"]) + 3)
    assert model.classifies_nuclei == bool(types)
    diameters = 2 * np.sqrt(np.bincount(made.labels.ravel())[1:] / np.pi)
    np.testing.assert_allclose(features[:, -3], diameters, rtol=1e-3)


def test_cells_cover_an_image_of_any_size() -> None:
    hidden = torch.arange(64.0).view(1, 1, 8, 8)
    assert feature_cells(hidden, (5, 8)).tolist() == [[[[13.5, 17.5], [45.5, 49.5]]]]
    assert feature_cells(hidden, (4, 3)).tolist() == [[[[13.5]]]]
    assert feature_cells(hidden, (9, 15), stride=2).shape == (1, 1, 3, 4)
