"""Every loss against its formula, written out in NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_nucleus.models import losses

Arguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 6, 7))
TARGET = RNG.integers(0, 3, (2, 6, 7))
MASK = RNG.random((2, 6, 7)) < 0.7


def softmax(logits: np.ndarray) -> np.ndarray:
    exponent = np.exp(logits)
    return exponent / exponent.sum(1, keepdims=True)


def of_target(probability: np.ndarray) -> np.ndarray:
    return np.take_along_axis(probability, TARGET[:, None], 1)[:, 0]


def tensors(pred: np.ndarray, true: np.ndarray, mask: np.ndarray) -> Arguments:
    return torch.from_numpy(pred), torch.from_numpy(true), torch.from_numpy(mask)


def expected_cross_entropy() -> float:
    return float(-np.log(of_target(softmax(LOGITS)))[MASK].mean())


def expected_dice() -> float:
    probability = softmax(LOGITS)
    of_classes = []
    for kind in range(3):
        p, t = probability[:, kind][MASK], np.equal(TARGET, kind)[MASK]
        of_classes.append(1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    return float(np.mean(of_classes))


def test_cross_entropy() -> None:
    found = losses.cross_entropy(*tensors(LOGITS, TARGET, MASK))
    assert float(found) == pytest.approx(expected_cross_entropy())


def test_dice() -> None:
    assert float(losses.dice(*tensors(LOGITS, TARGET, MASK))) == pytest.approx(expected_dice())


def test_ce_dice_is_their_sum() -> None:
    found = losses.ce_dice(*tensors(LOGITS, TARGET, MASK))
    assert float(found) == pytest.approx(expected_cross_entropy() + expected_dice())


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_asymmetric(gamma: float) -> None:
    logits, nucleus = LOGITS[:, :2] * 3, (TARGET > 0).astype(int)
    p = softmax(logits)[:, 1].clip(0.05, 0.95)
    terms = np.where(nucleus == 1, -((1 - p) ** gamma) * np.log(p), -(p**4) * np.log(1 - p))
    found = losses.asymmetric(*tensors(logits, nucleus, MASK), gamma_pos=gamma)
    assert float(found) == pytest.approx(terms[MASK].mean())


@pytest.mark.parametrize("gamma", [2.0, 3.0])
def test_focal(gamma: float) -> None:
    p = of_target(softmax(LOGITS))
    expected = (-0.25 * (1 - p) ** gamma * np.log(p))[MASK].mean()
    found = losses.focal(*tensors(LOGITS, TARGET, MASK), gamma=gamma)
    assert float(found) == pytest.approx(expected)


def test_dice_is_added() -> None:
    given = tensors(LOGITS, TARGET, MASK)
    found = losses.focal_dice(*given, gamma=3)
    assert float(found) == pytest.approx(float(losses.focal(*given, gamma=3)) + expected_dice())
    given = tensors(LOGITS[:, :2], np.minimum(TARGET, 1), MASK)
    found = losses.asymmetric_dice(*given, gamma_pos=0.5)
    expected = losses.asymmetric(*given, gamma_pos=0.5) + losses.dice(*given)
    assert float(found) == pytest.approx(float(expected))


def test_mse() -> None:
    pred, true = LOGITS[:, :2], np.tanh(LOGITS[:, 1:])
    expected = ((pred - true) ** 2).transpose(1, 0, 2, 3)[:, MASK].mean()
    assert float(losses.mse(*tensors(pred, true, MASK))) == pytest.approx(expected)


def test_msge() -> None:
    """A 5x5 kernel x / (x² + y²) across each map, and its transpose down the other."""
    pred, true = LOGITS[:, :2], np.tanh(LOGITS[:, 1:])
    kernel = np.array(
        [[x / (x * x + y * y) if x else 0 for x in range(-2, 3)] for y in range(-2, 3)]
    )
    difference = np.pad(pred - true, ((0, 0), (0, 0), (2, 2), (2, 2)))
    gradient = np.zeros_like(pred)
    for channel, k in enumerate((kernel, kernel.T)):
        for y, x in np.ndindex(6, 7):
            window = difference[:, channel, y : y + 5, x : x + 5]
            gradient[:, channel, y, x] = (window * k).sum((1, 2))
    expected = (gradient**2).transpose(1, 0, 2, 3)[:, MASK].mean()
    found = losses.msge(*tensors(pred.astype(np.float32), true.astype(np.float32), MASK))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        losses.ce_dice,
        losses.asymmetric,
        losses.asymmetric_dice,
        losses.focal,
        losses.focal_dice,
    ],
)
def test_pixels_that_do_not_count_have_no_gradient(loss: Callable[..., torch.Tensor]) -> None:
    logits = torch.from_numpy(LOGITS[:, :2]).requires_grad_()
    mask = torch.from_numpy(MASK)
    loss(logits, torch.from_numpy((TARGET > 0).astype(int)), mask).backward()
    assert logits.grad is not None
    assert not logits.grad.movedim(1, -1)[~mask].any()
    assert logits.grad.movedim(1, -1)[mask].any()


def test_nothing_to_learn_from_costs_nothing() -> None:
    logits, target, nothing = tensors(LOGITS, TARGET, np.zeros_like(MASK))
    assert losses.cross_entropy(logits, target, nothing) == 0
    pred = logits[:, :2].float()
    assert losses.msge(pred, pred + 1, nothing) == 0
