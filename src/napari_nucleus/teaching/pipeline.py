"""Teach on results, and classify results: what the command line and a window do in one call."""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.inference.steps import at_once
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.features import FeatureStore
from napari_nucleus.slides import Slide
from napari_nucleus.teaching.classifier import Moments, NucleusClassifier, fit_classifier
from napari_nucleus.teaching.examples import Examples, corrected_types, read_examples
from napari_nucleus.teaching.make_features import (
    find_network,
    lacking_features,
    make_features_steps,
    measured_nuclei,
)
from napari_nucleus.teaching.slide_nuclei import SlideNuclei

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel


def read_nuclei_steps(
    result: Result,
    slide: Slide | None = None,
    network: Mapping[str, str] | None = None,
    device: str | None = None,
) -> Generator[tuple[int, int], None, SlideNuclei]:
    """Read the nuclei of a result, and make the features that are lacking.

    Parameters
    ----------
    result : Result
        The result.
    slide : Slide or None
        Its image; None opens the file that it was made from, if it is needed.
    network : mapping of str to str or None
        Network whose features are made where there are none, as `find_network` takes it.
    device : str or None
        ``"cpu"``, ``"cuda"``, …; None takes the GPU where there is one.

    Yields
    ------
    done, total : int
        Tiles whose features are made.

    Returns
    -------
    SlideNuclei
        In their corrected state.

    Raises
    ------
    UserError
        As `find_network`, `make_features_steps` and `SlideNuclei.read`; if the image is needed and
        is not there.
    """
    nuclei = measured_nuclei(result)
    if lacking_features(result, nuclei).any():
        model = _loaded(find_network(result, network), device)
        yield from make_features_steps(result, nuclei, model, slide or result.open_image())
    return SlideNuclei.read(result)


def teach_steps(
    paths: Sequence[str | Path],
    examples: str | Path | None = None,
    device: str | None = None,
) -> Generator[tuple[int, int], None, NucleusClassifier]:
    """Teach the classes that nuclei of results were given by hand.

    `teach` does it at once and returns the classifier.

    Parameters
    ----------
    paths : sequence of str or Path
        Result folders.
    examples : str or Path or None
        CSV file with more examples, as `read_examples` takes it; they count where they contradict
        corrections.
    device : str or None
        For features that are lacking.

    Yields
    ------
    done, total : int
        Tiles whose features are made, result by result.

    Returns
    -------
    NucleusClassifier
        Of the examples of all results.

    Raises
    ------
    UserError
        If there are too few examples, or the features of one result are of another network than
        those of the rest; as `read_nuclei_steps`.
    """
    results = [open_result(path) for path in paths]
    given = read_examples(Path(examples), results) if examples else {}
    types = [corrected_types(result) | given.get(result.path, {}) for result in results]
    if not any(types):
        raise UserError(
            "There are no examples: set the class of nuclei in Correct nuclei, or give a table.",
            "examples",
        )
    parts: list[Examples] = []
    moments: list[Moments] = []
    network: Mapping[str, str] | None = None
    for result, own in zip(results, types, strict=True):
        if not own:
            continue
        nuclei = yield from read_nuclei_steps(result, network=network, device=device)
        network = network or nuclei.network
        if nuclei.network["sha256"] != network["sha256"]:
            raise UserError(
                f"{result.path} has features of {nuclei.network['name']}, the results before it of "
                f"{network['name']}: teach on results of one network."
            )
        parts.append(Examples.of(nuclei, own))
        moments.append(Moments.of(nuclei))
    assert network is not None
    colors = {name: color for result in results for name, color in result.types.items()}
    return fit_classifier(Examples.joined(parts), Moments.joined(moments), network, colors)


teach = at_once(teach_steps)


def classify_steps(
    path: str | Path,
    classifier: NucleusClassifier,
    slide: Slide | None = None,
    device: str | None = None,
) -> Generator[tuple[int, int], None, dict[str, int]]:
    """Give the nuclei of a result the classes that were taught; it can be undone.

    Types that a person has set stay. `classify` does it at once.

    Parameters
    ----------
    path : str or Path
        The result folder.
    classifier : NucleusClassifier
        What was taught.
    slide : Slide or None
        The image; None opens the file that the result was made from.
    device : str or None
        For features that are lacking.

    Yields
    ------
    done, total : int
        Tiles whose features are made.

    Returns
    -------
    dict of str to int
        Number of all nuclei, as ``nuclei``, and of every type.

    Raises
    ------
    UserError
        If the result has features of another network, or is being corrected elsewhere; as
        `read_nuclei_steps`.
    """
    result = open_result(path)
    if (store := FeatureStore.open(result.path)) is not None:
        classifier.check(store.network, str(result.path))
    slide = slide or result.open_image()
    nuclei = yield from read_nuclei_steps(result, slide, classifier.network, device)
    predicted = classifier.predict(nuclei)
    names = np.array(list(classifier.classes), object)
    with EditSession(result.path, slide) as session:
        session.apply(
            operations.retype,
            nuclei.labels,
            names[predicted.codes],
            predicted.probabilities.max(1),
            classifier.classes,
        )
        return session.counts()


classify = at_once(classify_steps)


def _loaded(file: Path, device: str | None) -> "NucleusModel":
    from napari_nucleus.models.checkpoints import load_checkpoint
    from napari_nucleus.models.devices import memory_format, pick_device

    chosen = pick_device(device)
    return load_checkpoint(file).to(chosen).to(memory_format=memory_format(chosen))
