"""The nuclei whose class would teach most."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.teaching.classifier import NucleusClassifier, Predicted
from napari_nucleus.teaching.slide_nuclei import SlideNuclei

_UNCERTAIN = 0.1
"""Share of the nuclei of a class from which those that are asked about are chosen."""


def next_nuclei(
    nuclei: SlideNuclei,
    classifier: NucleusClassifier,
    predicted: Predicted,
    known: Collection[int],
    count: int = 20,
) -> NDArray[np.int64]:
    """Return the nuclei whose class would teach most.

    More of them are of the classes that have few examples; they are between two classes, unlike
    each other, and far apart.

    Parameters
    ----------
    nuclei : SlideNuclei
        The slide.
    classifier : NucleusClassifier
        What was taught until now.
    predicted : Predicted
        Its answer for the slide.
    known : collection of int
        Labels of nuclei whose class is known.
    count : int
        How many are asked for.

    Returns
    -------
    (M,) ndarray of int64
        Their labels, the most uncertain first; as many as asked for, or all that are left.
    """
    free = np.flatnonzero(~np.isin(nuclei.labels, list(known)))
    probabilities = predicted.probabilities[free]
    best = np.partition(probabilities, -2, axis=1)[:, -2:]
    margin = best[:, 1] - best[:, 0]
    codes = probabilities.argmax(1)
    examples = classifier.examples.counts()
    wanted = _wanted(
        [examples[name] for name in classifier.classes],
        np.bincount(codes, minlength=len(examples)),
        count,
    )
    chosen: list[NDArray[np.int64]] = []
    for code in np.flatnonzero(wanted):
        own = np.flatnonzero(codes == code)
        some = max(3 * wanted[code], int(_UNCERTAIN * len(own)))
        own = own[np.argsort(margin[own], kind="stable")[:some]]
        place = nuclei.centres[free[own]]
        place = (place - place.mean(0)) / max(place.std(), 1e-6)
        spread = np.concatenate([np.sqrt(probabilities[own]), 0.2 * place], axis=1)
        chosen.append(own[_spread_out(spread, wanted[code])])
    asked = np.concatenate([*chosen, np.empty(0, np.int64)]).astype(np.int64)
    return nuclei.labels[free[asked[np.argsort(margin[asked], kind="stable")]]]


def _wanted(examples: list[int], there: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many nuclei of each class to ask about, so that examples become as many of each.

    Parameters
    ----------
    examples : list of int
        Of each class until now.
    there : (K,) ndarray of int
        Nuclei of each class that can be asked about.
    count : int
        How many in all.
    """
    wanted = np.zeros(len(there), np.int64)
    have = np.array(examples, float)
    for _ in range(min(count, int(there.sum()))):
        have[wanted == there] = np.inf
        wanted[have.argmin()] += 1
        have[have.argmin()] += 1
    return wanted


def _spread_out(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return the places (count,) of points that stand for clusters of them all."""
    if len(points) <= count:
        return np.arange(len(points))
    from sklearn.cluster import KMeans

    distance = KMeans(count, n_init=1, random_state=0).fit(points).transform(points)
    chosen: list[int] = []
    for cluster in range(count):
        distance[chosen] = np.inf
        chosen.append(int(distance[:, cluster].argmin()))
    return np.array(chosen)
