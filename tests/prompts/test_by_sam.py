from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from skimage.draw import disk
from skimage.io import imread
from skimage.measure import label
from skimage.segmentation import flood
from torch import Tensor, nn

from napari_nucleus.errors import UserError
from napari_nucleus.models.sam.model import FrozenSam, load_sam
from napari_nucleus.prompts.by_sam import Prompter, window_around
from tests.small_sam import small_sam

WHITE = np.full((256, 256, 3), 255, np.uint8)


def round_mask(*discs: tuple[float, float, float]) -> np.ndarray:
    """Return bool (256, 256) with discs given by x, y and radius."""
    mask = np.zeros((256, 256), bool)
    for x, y, radius in discs:
        mask[disk((y, x), radius, shape=mask.shape)] = True
    return mask


class Decoder(nn.Module):
    """Answers every prompt with prepared masks: part, object, whole."""

    def __init__(self, *masks: np.ndarray) -> None:
        super().__init__()
        self.masks = torch.from_numpy(np.stack(masks))[None].float() * 20 - 10

    def forward(self, multimask_output: bool, **rest: Tensor) -> tuple[Tensor, Tensor]:
        assert multimask_output
        return self.masks, torch.tensor([[0.2, 0.5, 0.9]])


def prompter_that_sees(*masks: np.ndarray) -> Prompter:
    network = small_sam()
    network.mask_decoder = Decoder(*masks)
    prompter = Prompter(FrozenSam(network, "vit_b"))
    prompter.set_image(WHITE)
    return prompter


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


TISSUE = round_mask((128, 128, 120))


def test_click_takes_the_smallest_that_can_be_a_nucleus() -> None:
    speck, nucleus, clump = ((100, 60, radius) for radius in (2, 12, 40))
    prompter = prompter_that_sees(*(round_mask(disc) for disc in (speck, nucleus, clump)))
    mask = prompter.click(101, 59)
    assert mask.dtype == bool
    assert iou(mask, round_mask(nucleus)) > 0.98


def test_holes_are_filled_and_other_pieces_dropped() -> None:
    nucleus, neighbour = (100, 60, 12), (60, 200, 20)
    seen = round_mask(nucleus, neighbour) & ~round_mask((97, 62, 3))
    prompter = prompter_that_sees(seen, TISSUE, TISSUE)
    assert iou(prompter.click(104, 55), round_mask(nucleus)) > 0.98
    assert iou(prompter.click(60, 200), round_mask(neighbour)) > 0.98


def test_box_takes_the_largest_piece() -> None:
    speck, nucleus = (100, 60, 12), (60, 200, 20)
    prompter = prompter_that_sees(round_mask(speck, nucleus), TISSUE, TISSUE)
    assert iou(prompter.box(0, 0, 255, 255), round_mask(nucleus)) > 0.98


def test_nothing_found_is_told() -> None:
    nothing = np.zeros((256, 256), bool)
    prompter = prompter_that_sees(nothing, round_mask((9, 9, 2)), TISSUE)
    with pytest.raises(UserError, match="No nucleus was found there"):
        prompter.click(128, 128)
    with pytest.raises(UserError, match="No nucleus was found there"):
        prompter_that_sees(round_mask((60, 60, 12)), TISSUE, TISSUE).click(200, 200)
    with pytest.raises(UserError, match="No nucleus was found in the box"):
        prompter.box(0, 0, 30, 30)


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (5, 256), (300, 300), (float("nan"), 5)])
def test_click_outside_is_told(x: float, y: float) -> None:
    with pytest.raises(UserError, match="outside"):
        prompter_that_sees(TISSUE, TISSUE, TISSUE).click(x, y)


@pytest.mark.parametrize("box", [(5, 5, 5, 50), (300, 300, 400, 400), (-40, -40, 0, 10)])
def test_empty_box_is_told(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(UserError, match="box is empty"):
        prompter_that_sees(TISSUE, TISSUE, TISSUE).box(*box)


def test_prompt_needs_an_image() -> None:
    with pytest.raises(RuntimeError, match="set_image"):
        Prompter(FrozenSam(small_sam(), "vit_b")).click(1, 1)


def test_image_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = FrozenSam(small_sam(), "vit_b")
    sizes = []
    embed = sam.embed

    def counted(images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape))
        return embed(images)

    monkeypatch.setattr(sam, "embed", counted)
    prompter = Prompter(sam)
    image = WHITE.copy()
    prompter.set_image(image)
    prompter.set_image(image.copy())
    assert sizes == [(1, 3, 1024, 1024)]
    image[3, 4] = 0
    prompter.set_image(image)
    prompter.set_image(image[:128])
    assert sizes[1:] == [(1, 3, 1024, 1024), (1, 3, 512, 1024)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1024, 768), (192, 256)])
def test_masks_are_those_of_sams_own_predictor(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any component counts as a nucleus here: the masks of random weights look like none."""
    monkeypatch.setattr("napari_nucleus.prompts.by_sam._MAX_SHARE", 1.0)
    image = noise(*shape)
    network = small_sam().eval()
    prompter = Prompter(FrozenSam(network, "vit_b"))
    prompter.set_image(image)
    reference = SamPredictor(network)
    reference.set_image(image)
    scale = 1024 / max(shape)
    # The predictor scales pixels' middles as if they were edges.
    points = (np.array([[60, 90], [20, 30]]) + 0.5) - 0.5 / scale
    masks, _, _ = reference.predict(points, np.array([1, 0]))
    expected = smallest_piece(masks, at=(90, 60))
    assert iou(prompter.click(60, 90, exclude=[(20, 30)]), expected) > 0.95
    masks, _, _ = reference.predict(box=np.array([10, 20, 110, 150]) - 0.5 / scale)
    assert iou(prompter.box(10, 20, 110, 150), smallest_piece(masks, at=None)) > 0.95


def smallest_piece(masks: np.ndarray, at: tuple[int, int] | None) -> np.ndarray:
    """Return the smallest of the masks' components at a place, or of their largest ones."""
    pieces = []
    for mask in masks:
        outside = flood(np.pad(mask, 1), (0, 0), connectivity=1)
        labels = label(~outside[1:-1, 1:-1], connectivity=1)
        here = labels[at] if at else np.bincount(labels.ravel())[1:].argmax() + 1
        if here:
            pieces.append(labels == here)
    return min((piece for piece in pieces if piece.sum() >= 30), key=np.sum)


@pytest.mark.parametrize("mpp", [None, 0.25, 0.5, 2.0])
def test_window_keeps_its_distance_from_the_prompt(mpp: float | None) -> None:
    side = 96 / (mpp or 0.25)
    rng = np.random.default_rng(0)
    windows = set()
    for x, y in rng.uniform(0, (1500, 1100), (200, 2)):
        rows, columns = window_around(x, y, (1100, 1500), mpp)
        for at, span, size in ((x, columns, 1500), (y, rows, 1100)):
            assert span.stop - span.start == side
            assert span.start == 0 or at - span.start >= side / 4
            assert span.stop == size or span.stop - at >= side / 4
        windows.add((rows.start, columns.start))
    assert len(windows) < 200 or side < 100


def test_window_is_no_larger_than_its_image() -> None:
    assert window_around(5, 5, (100, 1000), 0.25) == (slice(0, 100), slice(0, 384))


def test_real_weights_find_real_nuclei(mobile_sam: Path, datasets: Path) -> None:
    """Ten nuclei of one image, by a click on the centroid and by their box."""
    image = imread(next((datasets / "tnbc" / "images").glob("01_1.*")))[..., :3]
    truth = imread(datasets / "tnbc" / "labels" / "01_1.tif")
    prompter = Prompter(load_sam(mobile_sam))
    rows, columns = window_around(256, 256, truth.shape, 0.25)
    prompter.set_image(image[rows, columns])
    truth = truth[rows, columns]
    clicks, boxes = [], []
    for value in np.unique(truth[32:-32, 32:-32])[1:11]:
        nucleus = truth == value
        y, x = np.nonzero(nucleus)
        clicks.append(iou(prompter.click(x.mean(), y.mean()), nucleus))
        boxes.append(iou(prompter.box(x.min(), y.min(), x.max() + 1, y.max() + 1), nucleus))
    assert np.mean(clicks) > 0.5
    assert np.mean(boxes) > 0.7
