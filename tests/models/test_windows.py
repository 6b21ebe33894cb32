import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_nucleus.inference import predict_image
from napari_nucleus.models import create_model
from napari_nucleus.models.msanet.windows import answer_windows
from tests.tissue import TYPES, tiled, tissue


@pytest.mark.parametrize(("height", "width"), [(64, 96), (75, 210), (20, 33), (200, 64)])
def test_answers_lie_where_the_image_does(height: int, width: int) -> None:
    sides = []

    def answer(windows: Tensor) -> dict[str, Tensor]:
        sides.append(windows.shape)
        return {"same": windows, "coarse": F.avg_pool2d(windows, 16)}

    images = torch.rand(2, 3, height, width)
    found = answer_windows(images, 64, 16, answer)
    assert {side[1:] for side in sides} == {(3, 64, 64)}
    assert max(side[0] for side in sides) <= 16
    assert torch.equal(found["same"], images)
    beyond = (0, -width % 16, 0, -height % 16)
    expected = F.avg_pool2d(F.pad(images, beyond, mode="replicate"), 16)
    torch.testing.assert_close(found["coarse"], expected)


def test_answer_knows_its_window_alone() -> None:
    images = torch.rand(1, 1, 160, 160)
    found = answer_windows(images, 64, 16, lambda windows: {"mean": windows * 0 + _mean(windows)})
    # the middle of the window at (32, 64) of the middles, which begins 16 px before it
    expected = images[0, 0, 16:80, 48:112].mean()
    torch.testing.assert_close(found["mean"][0, 0, 32:64, 64:96], expected.expand(32, 32))


def _mean(windows: Tensor) -> Tensor:
    return windows.mean((1, 2, 3), keepdim=True)


@pytest.mark.slow
def test_msanet_answers_alike_in_every_tile() -> None:
    torch.manual_seed(0)
    model = create_model("msanet_small", TYPES, pretrained=False, window=128).eval()
    image = tissue(170, 230, seed=1).stained()
    whole, pieces = (predict_image(image, tiled(model, tile, 128)) for tile in (640, 64))
    assert set(whole) >= {"np", "features"}
    for key, values in whole.items():
        np.testing.assert_allclose(pieces[key].astype(float), values.astype(float), atol=0.02)
