"""The benchmark's own arithmetic; the peer's weights are not needed for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.peers import InstanSeg, Ours, compare, run
from napari_nucleus.datasets import Sample
from napari_nucleus.metrics.bootstrap import bootstrap_ci
from tests.tissue import Decoder, tissue

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # the peer comes as TorchScript


class Dark(nn.Module):
    """Takes what is darker than half of its input's range for one nucleus."""

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[2] % 32 == 0
        assert images.shape[3] % 32 == 0
        return (images.mean(1, keepdim=True) < 0.5).float()


@pytest.fixture
def peer(tmp_path: Path) -> InstanSeg:
    file = tmp_path / "dark.pt"
    torch.jit.script(Dark()).save(file)
    return InstanSeg(file)


@pytest.mark.parametrize(("mpp", "size"), [(0.25, (130, 171)), (0.5, (97, 64)), (0.4, (80, 111))])
def test_peers_labels_lie_on_their_pixels(
    peer: InstanSeg, mpp: float, size: tuple[int, int]
) -> None:
    labels = np.zeros(size, np.int32)
    labels[20:60, 11:50] = 1
    image = np.where(labels[..., None] > 0, (80, 40, 120), (200, 180, 210)).astype(np.uint8)
    found = peer(image, mpp)
    assert found.shape == size
    wrong = np.argwhere(found != labels)
    if len(wrong):  # at the edge only, and on both of its sides alike
        y, x = wrong.T
        edge = np.minimum.reduce([abs(y - 19.5), abs(y - 59.5), abs(x - 10.5), abs(x - 49.5)])
        assert edge.max() <= 1.5
    assert np.argwhere(found).mean(axis=0) == pytest.approx((39.5, 30), abs=0.6)


def test_both_sides_are_scored_on_the_same_images(peer: InstanSeg, tmp_path: Path) -> None:
    made = [tissue(80, 90, seed) for seed in (1, 2)]
    none = np.empty(0, np.uint8)
    samples = [Sample("x", "d", i.coded(), i.labels, none, none > 0, 0.25) for i in made]
    scores, speed = run({"ours": Ours(Decoder(), tmp_path), "instanseg": peer}, samples)
    assert [image["pq"] for image in scores["ours"]] == pytest.approx([1, 1], abs=1e-3)
    assert all(image["pq"] < 0.5 for image in scores["instanseg"])
    assert speed.keys() == scores.keys()


def test_difference_is_paired_by_image() -> None:
    ours, theirs = np.array([0.5, 0.6, 0.9, 0.7]), np.array([0.4, 0.5, 0.8, 0.6])
    sides = {"ours": ours, "instanseg": theirs}
    found = compare({name: [{"pq": float(v)} for v in side] for name, side in sides.items()})["pq"]
    assert found["ours"] == {"mean": pytest.approx(0.675), "ci95": list(bootstrap_ci(ours))}
    # as every image differs alike, the difference is certain, however far the images lie apart
    assert found["difference"]["ci95"] == pytest.approx([0.1, 0.1])
    assert found["ours"]["ci95"][1] - found["ours"]["ci95"][0] > 0.1
