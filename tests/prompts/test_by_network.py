from pathlib import Path

import numpy as np
import platformdirs
import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.inference import segment
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from napari_nucleus.prompts.by_network import nucleus_at, propose_nucleus
from napari_nucleus.prompts.propose import OutlineProposer
from napari_nucleus.slides import slide_from_arrays
from tests.tissue import Decoder, Tissue, distances, tissue

SHAPE = (80, 100)


def discs(*places: tuple[int, int, int]) -> np.ndarray:
    """Labels of discs (y, x, radius); a later one leaves an earlier one its pixels."""
    rows, columns = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.int32)
    for label, (y, x, radius) in enumerate(places, 1):
        labels[((rows - y) ** 2 + (columns - x) ** 2 < radius**2) & (labels == 0)] = label
    return labels


def maps(labels: np.ndarray, probabilities: list[float]) -> dict[str, np.ndarray]:
    return {
        "np": np.array([0.01, *probabilities])[labels],
        "hv": distances(labels),
        "tp": np.where(labels == 1, 3, 1),
    }


def network() -> Decoder:
    made = Decoder(("a", "b", "c")).eval()
    made.instances = {}
    return made


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("probability", [0.9, 0.45, 0.2, 0.05])
def test_a_nucleus_is_found_however_faint(probability: float) -> None:
    labels = discs((40, 35, 12), (40, 60, 12))
    mask, threshold = nucleus_at(network(), maps(labels, [probability, 0.9]), 30, 42)
    assert overlap(mask, labels == 1) > 0.95
    assert threshold == pytest.approx(min(0.5, probability / 2) if probability < 0.5 else 0.5)


def test_a_nucleus_that_fades_reaches_to_half_of_its_peak() -> None:
    """As wide as the disc in which its probability is above half."""
    whole = maps(discs((40, 50, 30)), [0.9])
    rows, columns = np.indices(SHAPE)
    distance = np.hypot(rows - 40, columns - 50)
    whole["np"] = 0.25 * np.exp(-0.5 * (distance / 10) ** 2)
    for x in (50, 58):
        mask, _ = nucleus_at(network(), whole, x, 40)
        assert overlap(mask, distance < 10 * np.sqrt(2 * np.log(2))) > 0.95


def test_a_faint_nucleus_is_kept_apart_from_one_that_it_touches() -> None:
    labels = discs((40, 35, 12), (40, 58, 12))
    for probabilities in ([0.3, 0.3], [0.3, 0.9], [0.9, 0.3]):
        for label, x in ((1, 30), (2, 63)):
            mask, _ = nucleus_at(network(), maps(labels, probabilities), x, 40)
            assert overlap(mask, labels == label) > 0.9


def test_where_the_network_sees_nothing() -> None:
    labels = discs((40, 35, 12))
    with pytest.raises(UserError, match="no nucleus there"):
        nucleus_at(network(), maps(labels, [0.9]), 80, 10)


def test_probability_below_which_nuclei_are_dropped_does_not_count_for_a_click() -> None:
    labels = discs((40, 35, 12))
    fitted = network()
    fitted.instances |= {"min_probability": 0.8}
    for probability in (0.7, 0.3):
        whole = maps(labels, [probability])
        assert not fitted.find(whole)[0].any()
        mask, _ = nucleus_at(fitted, whole, 35, 40)
        assert overlap(mask, labels == 1) > 0.95


@pytest.fixture(scope="module")
def faint() -> tuple[Tissue, np.ndarray]:
    """Tissue of which every nucleus is too faint to be found, and its image."""
    made = tissue(240, 300, seed=4)
    image = made.coded()
    image[..., 0] = np.where(made.labels > 0, 200, 255)  # a probability of 0.22
    return made, image


@pytest.mark.parametrize("scale", [1, 2])
def test_a_network_outlines_the_nucleus_under_a_click(
    faint: tuple[Tissue, np.ndarray], scale: int
) -> None:
    made, image = faint
    labels = np.kron(made.labels, np.ones((scale, scale), int))
    slide = slide_from_arrays([np.kron(image, np.ones((scale, scale, 1), np.uint8))])
    network = Decoder().eval()
    for label in (1, 7, int(made.labels[-1].max())):  # the last one at the border
        y, x = (float(axis.mean()) for axis in np.nonzero(labels == label))
        found = propose_nucleus(slide, network, x, y, mpp=0.25 / scale)
        drawn = np.zeros(labels.shape, bool)
        height, width = found.mask.shape
        drawn[found.y : found.y + height, found.x : found.x + width] = found.mask
        assert overlap(drawn, labels == label) > 0.9
    y, x = np.argwhere(labels == 0)[0]
    with pytest.raises(UserError, match="no nucleus there"):
        propose_nucleus(slide, network, float(x), float(y), mpp=0.25 / scale)


def test_the_network_that_made_the_result_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_: tmp_path)
    monkeypatch.setitem(_BUILDERS, "decoder", lambda types, pretrained, mpp: Decoder(types, mpp))
    weights = tmp_path / "models" / "my own.safetensors"
    weights.parent.mkdir()
    save_checkpoint(weights, Decoder())
    made = tissue(200, 220, seed=3)
    slide = slide_from_arrays([made.coded()], 0.25)
    result = segment(slide, tmp_path / "made.nucleus", weights, device="cpu")
    nucleus = made.labels == made.labels[80:120, 90:130].max()
    y, x = (axis.mean() for axis in np.nonzero(nucleus))
    outline = OutlineProposer(slide, 0.25, result.path, None).outline((x, y))
    clicked = np.zeros(nucleus.shape, bool)
    height, width = outline.mask.shape
    clicked[outline.y : outline.y + height, outline.x : outline.x + width] = outline.mask
    assert overlap(clicked, nucleus) > 0.95
