"""What was taught: a classifier of nuclei, which fits in a moment and tells how sure it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import spare_color
from napari_nucleus.teaching.examples import Examples
from napari_nucleus.teaching.slide_nuclei import SlideNuclei

SHRINKAGE = 0.5
"""Share of a sphere in the covariance of the classes: examples are few, features many."""

_FOLDS = 5

_LONGEST = 20_000
"""Nuclei of a slide by which the shares of its classes are estimated."""


@dataclass(frozen=True)
class Moments:
    """Means and spreads of what describes the nuclei of slides, taught or not.

    Attributes
    ----------
    means, spreads : (S, 3 F) ndarray of float32
        Of every slide.
    """

    means: NDArray[np.float32]
    spreads: NDArray[np.float32]

    @classmethod
    def of(cls, nuclei: SlideNuclei) -> Self:
        """Return those of one slide.

        Parameters
        ----------
        nuclei : SlideNuclei
            The slide.
        """
        described = nuclei.describe(nuclei.sample()).astype(np.float64)
        mean, spread = described.mean(0), described.std(0)
        return cls(mean[None].astype(np.float32), spread[None].astype(np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return those of several slides together.

        Parameters
        ----------
        parts : sequence of Moments
            At least one.
        """
        return cls(
            np.concatenate([part.means for part in parts]),
            np.concatenate([part.spreads for part in parts]),
        )

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean over all slides, each counting alike."""
        return self.means.mean(0)

    @property
    def spread(self) -> NDArray[np.float32]:
        """Standard deviation over all slides, each counting alike; 1 where nothing varies."""
        spread = np.sqrt((self.spreads**2).mean(0) + self.means.var(0))
        return np.where(spread > 1e-6, spread, 1).astype(np.float32)


@dataclass(frozen=True)
class Report:
    """How well a classifier does, by cross-validation on its examples.

    Attributes
    ----------
    classes : tuple of str
        Names.
    confusion : (K, K) ndarray of int64
        Examples of every class (rows) by the class that they were given (columns).
    f1 : (K,) ndarray of float64
        By class.
    low, high : (K,) ndarray of float64
        Bounds of the 95 % interval of each.
    mean, mean_low, mean_high : float
        The same of the mean over classes.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    f1: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: float
    mean_low: float
    mean_high: float

    def table(self) -> pd.DataFrame:
        """Return a row per class: `f1`, `low`, `high` and `examples`."""
        columns = {"f1": self.f1, "low": self.low, "high": self.high}
        return pd.DataFrame(columns, index=list(self.classes)).assign(
            examples=self.confusion.sum(1)
        )


@dataclass(frozen=True)
class Predicted:
    """Classes of the nuclei of a slide.

    Attributes
    ----------
    probabilities : (N, K) ndarray of float32
        In the order of the classifier's classes.
    shares : (K,) ndarray of float64
        Estimated share of every class among the nuclei of the slide.
    """

    probabilities: NDArray[np.float32]
    shares: NDArray[np.float64]

    @property
    def codes(self) -> NDArray[np.int64]:
        """Place (N,) of the most probable class of each nucleus."""
        return self.probabilities.argmax(1)


@dataclass(frozen=True)
class NucleusClassifier:
    """Linear discriminant analysis of what describes nuclei, with shrunk covariance.

    Attributes
    ----------
    network : dict of str to str
        ``name`` and ``sha256`` of the network whose features it takes.
    classes : dict of str to str
        Name to colour ``"#rrggbb"``.
    examples : Examples
        What it learned from.
    moments : Moments
        Of the slides of the examples.
    weights : (3 F, K) ndarray of float32
        Of what describes a nucleus.
    bias : (K,) ndarray of float32
        Added to the products.
    temperature : float
        By which scores are multiplied before they become probabilities.
    held_out : (E, K) ndarray of float32
        Scores of the examples by cross-validation.
    """

    network: dict[str, str]
    classes: dict[str, str]
    examples: Examples
    moments: Moments
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    held_out: NDArray[np.float32]

    def predict(self, nuclei: SlideNuclei) -> Predicted:
        """Return how probable every class is for every nucleus of a slide.

        Probabilities are calibrated by cross-validation. Classes count as frequent as they are in
        the slide, by the more the better the examples tell them apart, and at most by half: the
        mean F1 is highest there.

        Parameters
        ----------
        nuclei : SlideNuclei
            The slide.

        Raises
        ------
        UserError
            If it has the features of another network.

        References
        ----------
        Saerens, Latinne, Decaestecker (2002), Adjusting the outputs of a classifier to new a
        priori probabilities. Guo et al. (2017), On calibration of modern neural networks.
        """
        self.check(nuclei.network, nuclei.name)
        scores = nuclei.project(self.weights)
        scores += self.bias
        every = max(len(scores) // _LONGEST, 1)
        shares = estimated_shares(scores[::every])
        scores *= self.temperature
        scores += (self._weight_of_shares * np.log(shares + 1e-6)).astype(np.float32)
        return Predicted(_softmax(scores), shares)

    def check(self, network: Mapping[str, str], slide: str) -> None:
        """Refuse features of another network.

        Parameters
        ----------
        network : mapping of str to str
            ``name`` and ``sha256`` of the network that made them.
        slide : str
            Name of the slide, for the message.

        Raises
        ------
        UserError
            If it is another.
        """
        if network["sha256"] != self.network["sha256"]:
            raise UserError(
                f"The classes {', '.join(self.classes)} were taught on features of "
                f"{_named(self.network)}, and {slide} has those of {_named(network)}: segment it "
                "with that network, or teach the classes again."
            )

    def report(self, shares: NDArray[np.float64] | None = None) -> Report:
        """Return how well it does.

        Parameters
        ----------
        shares : (K,) ndarray of float64 or None
            Shares of the classes among the nuclei that it is asked about, on which F1 depends
            (`Predicted`); None is as many of each.

        Returns
        -------
        Report
            Intervals are those of a posterior: every row of the confusion matrix is multinomial,
            with Jeffreys' prior for right and wrong, and as much evidence as there are squares with
            examples, so that few examples, or all in one place, make a wide interval.
        """
        names = tuple(self.classes)
        count = len(names)
        shares = np.full(count, 1 / count) if shares is None else shares
        true = np.array([names.index(name) for name in self.examples.classes])
        scores = self.temperature * self.held_out
        given = (scores + self._weight_of_shares * np.log(shares + 1e-6)).argmax(1)
        confusion = np.zeros((count, count), np.int64)
        np.add.at(confusion, (true, given), 1)
        rng = np.random.default_rng(0)
        prior = np.where(np.eye(count), 0.5, 0.5 / (count - 1))
        squares = [len(set(self.examples.block[true == k])) for k in range(count)]
        evidence = confusion * (np.array(squares) / confusion.sum(1))[:, None] + prior
        rates = np.stack([rng.dirichlet(row, 4000) for row in evidence], axis=1)
        drawn = _f1(rates, shares)
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
        mean_low, mean_high = np.quantile(drawn.mean(1), (0.025, 0.975))
        f1 = _f1(confusion / confusion.sum(1, keepdims=True), shares)
        return Report(
            names, confusion, f1, low, high, float(f1.mean()), float(mean_low), float(mean_high)
        )

    @property
    def _weight_of_shares(self) -> float:
        return min(0.5, 3 * self.temperature)


def fit_classifier(
    examples: Examples,
    moments: Moments,
    network: Mapping[str, str],
    colors: Mapping[str, str] | None = None,
) -> NucleusClassifier:
    """Learn classes from examples.

    Parameters
    ----------
    examples : Examples
        Of one slide or several.
    moments : Moments
        Of the same slides.
    network : mapping of str to str
        ``name`` and ``sha256`` of the network that made the features.
    colors : mapping of str to str or None
        Colours of classes; others get spare ones.

    Returns
    -------
    NucleusClassifier
        Its classes are in the order of `colors`, then in that of the alphabet.

    Raises
    ------
    UserError
        If there are fewer than two classes, or too few examples of one.
    """
    examples.check()
    names = set(examples.counts())
    classes = {name: color for name, color in (colors or {}).items() if name in names}
    for name in sorted(names - classes.keys()):
        classes[name] = spare_color(name, classes.values())
    order = list(classes)
    target = np.array([order.index(name) for name in examples.classes])
    standard = (examples.described - moments.mean) / moments.spread
    held_out = _cross_validated(standard, target, examples.block)
    weights, bias = _fitted(standard, target, len(order))
    weights /= moments.spread[:, None]
    bias -= moments.mean @ weights
    return NucleusClassifier(
        {key: network[key] for key in ("name", "sha256")},
        classes,
        examples,
        moments,
        weights,
        bias,
        _calibrated(held_out, target),
        held_out,
    )


def with_examples(
    classifier: NucleusClassifier, examples: Examples, moments: Moments
) -> NucleusClassifier:
    """Return a classifier that has also learned from other slides.

    Parameters
    ----------
    classifier : NucleusClassifier
        What there is.
    examples : Examples
        Of the other slides.
    moments : Moments
        Of the other slides.
    """
    return fit_classifier(
        Examples.joined([classifier.examples, examples]),
        Moments.joined([classifier.moments, moments]),
        classifier.network,
        classifier.classes,
    )


def estimated_shares(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Estimate how frequent classes are, by expectation maximisation (Saerens et al. 2002).

    Parameters
    ----------
    scores : (N, K) ndarray of float
        Logarithms of the probabilities of the classes if all were as frequent, but for a constant.

    Returns
    -------
    (K,) ndarray of float64
        They sum to 1.
    """
    likelihood = _softmax(scores.astype(np.float64))
    shares = np.full(scores.shape[1], 1 / scores.shape[1])
    for _ in range(20):
        posterior = likelihood * shares
        posterior /= posterior.sum(1, keepdims=True)
        shares = posterior.mean(0)
    return shares


def _fitted(
    standard: NDArray[np.float32], target: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights (D, K) and bias (K,) of the scores; all classes count alike."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=SHRINKAGE, priors=np.full(count, 1 / count)
    ).fit(standard, target)
    weights, bias = model.coef_.T, model.intercept_
    if count == 2:  # one column, the score of the second class
        weights = np.concatenate([np.zeros_like(weights), weights], axis=1)
        bias = np.append(0, bias)
    return weights.astype(np.float32), bias.astype(np.float32)


def _cross_validated(
    standard: NDArray[np.float32], target: NDArray[np.int64], block: NDArray[np.object_]
) -> NDArray[np.float32]:
    """Return the scores (E, K) of every example by models that have not seen its square.

    Where a class would be unknown without a square, by models that have not seen the example.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = int(target.max()) + 1
    squares = pd.factorize(block)[0]
    folds = min(_FOLDS, *(len(np.unique(squares[target == k])) for k in range(count)))
    parts = []
    if folds > 1:
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        parts = list(split.split(standard, target, squares))
    if (
        not parts
        or min(np.bincount(target[train], minlength=count).min() for train, _ in parts) < 2
    ):
        folds = min(_FOLDS, int(np.bincount(target).min()))
        split = StratifiedKFold(folds, shuffle=True, random_state=0)
        parts = list(split.split(standard, target))
    scores = np.empty((len(target), count), np.float32)
    for train, test in parts:
        weights, bias = _fitted(standard[train], target[train], count)
        scores[test] = standard[test] @ weights + bias
    return scores


def _calibrated(scores: NDArray[np.float32], target: NDArray[np.int64]) -> float:
    """Return the temperature by which held-out scores are the most probable."""
    from scipy.optimize import minimize_scalar

    weight = 1 / np.bincount(target)[target]

    def loss(logarithm: float) -> float:
        probability = _softmax(scores.astype(np.float64) * np.exp(logarithm))
        return -float(weight @ np.log(probability[np.arange(len(target)), target] + 1e-9))

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 1), method="bounded").x))


def _softmax(scores: NDArray) -> NDArray:
    exponential = np.exp(scores - scores.max(1, keepdims=True))
    exponential /= exponential.sum(1, keepdims=True)
    return exponential


def _f1(rates: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return F1 (..., K) by the rates (..., K, K) at which classes are given to each class."""
    joint = rates * shares[:, None]
    right = np.diagonal(joint, axis1=-2, axis2=-1)
    return 2 * right / np.maximum(shares + joint.sum(-2), 1e-12)


def _named(network: Mapping[str, str]) -> str:
    return f"{network['name']} ({network['sha256'][:8]})"
