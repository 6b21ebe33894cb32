from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_nucleus.errors import UserError
from napari_nucleus.teaching import classifier_file
from napari_nucleus.teaching.classifier import (
    Moments,
    NucleusClassifier,
    estimated_shares,
    fit_classifier,
    with_examples,
)
from napari_nucleus.teaching.classifier_file import (
    find_classes,
    list_classes,
    load_classes,
    read_classes_card,
    save_classes,
)
from napari_nucleus.teaching.examples import Examples
from napari_nucleus.teaching.next_nuclei import next_nuclei
from napari_nucleus.teaching.slide_nuclei import SlideNuclei, mean_over_neighbours

NETWORK = {"name": "tiny", "sha256": "ab" * 32}
NAMES = np.array(["stroma", "immune", "tumour"], object)


def slide(
    shares: Sequence[float] = (0.6, 0.3, 0.1), count: int = 1500, seed: int = 0, gap: float = 1.5
) -> tuple[SlideNuclei, np.ndarray]:
    """Nuclei of three classes, each of whose features is a Gaussian, and their true classes."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, count, p=shares)
    own = rng.normal(size=(count, 6)) + gap * np.eye(3, 6)[true]
    centres = rng.uniform(0, 2000, (count, 2))
    nuclei = SlideNuclei(
        f"slide {seed}",
        NETWORK,
        np.arange(1, count + 1),
        centres,
        own.astype(np.float16),
        mean_over_neighbours(centres),
    )
    return nuclei, NAMES[true]


def examples(nuclei: SlideNuclei, true: np.ndarray, count: int) -> Examples:
    """The first nuclei of each class."""
    index = np.concatenate([np.flatnonzero(true == name)[:count] for name in NAMES])
    return Examples.of(nuclei, {int(nuclei.labels[i]): true[i] for i in index})


def taught(count: int = 40, **options: object) -> tuple[NucleusClassifier, SlideNuclei, np.ndarray]:
    nuclei, true = slide(**options)  # type: ignore[arg-type]
    given = examples(nuclei, true, count)
    return fit_classifier(given, Moments.of(nuclei), NETWORK), nuclei, true


def test_most_nuclei_get_their_class_and_probabilities_hold() -> None:
    classifier, nuclei, true = taught(gap=2.5)
    predicted = classifier.predict(nuclei)
    given = np.array(list(classifier.classes))[predicted.codes]
    assert (given == true).mean() > 0.85
    np.testing.assert_allclose(predicted.probabilities.sum(1), 1, atol=1e-5)
    order = [list(classifier.classes).index(name) for name in NAMES]
    np.testing.assert_allclose(predicted.shares[order], (0.6, 0.3, 0.1), atol=0.08)
    confident = predicted.probabilities.max(1)
    assert confident.mean() == pytest.approx((given == true).mean(), abs=0.1)


def test_shares_are_estimated_from_likelihoods() -> None:
    rng = np.random.default_rng(0)
    true = rng.choice(2, 20_000, p=(0.9, 0.1))
    value = rng.normal(2.0 * true)
    scores = np.stack([-0.5 * value**2, -0.5 * (value - 2) ** 2], axis=1)
    np.testing.assert_allclose(estimated_shares(scores), (0.9, 0.1), atol=0.02)


def test_the_report_is_as_good_as_the_classifier_on_the_rest() -> None:
    classifier, nuclei, true = taught(count=60)
    predicted = classifier.predict(nuclei)
    report = classifier.report(predicted.shares)
    assert report.confusion.sum(1).tolist() == [60, 60, 60]
    given = np.array(list(classifier.classes))[predicted.codes]
    rest = ~np.isin(np.arange(len(true)), np.flatnonzero(true == NAMES[0])[:60])
    for place, name in enumerate(report.classes):
        right = np.sum((given == name) & (true == name) & rest)
        f1 = 2 * right / (np.sum((given == name) & rest) + np.sum((true == name) & rest))
        assert report.low[place] - 0.05 <= f1 <= report.high[place] + 0.05
    assert (report.low <= report.f1).all()
    assert (report.f1 <= report.high).all()
    assert report.table().loc["immune", "examples"] == 60


def test_few_examples_or_all_in_one_place_make_wide_intervals() -> None:
    def width(count: int, narrow: bool) -> float:
        nuclei, true = slide(gap=3)
        given = examples(nuclei, true, count)
        if narrow:
            block = np.array([f"{name}" for name in given.classes], object)
            given = Examples(given.described, given.classes, block)
        report = fit_classifier(given, Moments.of(nuclei), NETWORK).report()
        return float((report.high - report.low).mean())

    assert width(5, False) > 1.5 * width(40, False)
    assert width(40, True) > 1.5 * width(40, False)
    assert width(3, False) > 0.2


def test_classes_that_nothing_tells_apart_score_by_chance() -> None:
    nuclei, true = slide((1 / 3, 1 / 3, 1 / 3), gap=0)
    report = fit_classifier(examples(nuclei, true, 60), Moments.of(nuclei), NETWORK).report()
    assert report.mean == pytest.approx(1 / 3, abs=0.12)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "There are no examples"),
        ({"a": 5}, "All examples are of the class a: give examples of others"),
        ({"a": 1, "b": 1}, r"Too few examples of a \(1\), b \(1\): give 3 or more"),
        ({"a": 9, "b": 2}, r"Too few examples of b \(2\)"),
    ],
)
def test_too_few_examples(counts: dict[str, int], message: str) -> None:
    nuclei, _ = slide()
    names = [name for name, count in counts.items() for _ in range(count)]
    given = Examples.of(nuclei, dict(enumerate(names, 1)))
    with pytest.raises(UserError, match=message):
        fit_classifier(given, Moments.of(nuclei), NETWORK)


def test_two_classes_of_three_examples_are_enough() -> None:
    nuclei, true = slide()
    index = np.concatenate([np.flatnonzero(true == name)[:3] for name in NAMES[:2]])
    given = Examples.of(nuclei, {int(nuclei.labels[i]): true[i] for i in index})
    classifier = fit_classifier(given, Moments.of(nuclei), NETWORK, {"stroma": "#123456"})
    assert list(classifier.classes) == ["stroma", "immune"]
    assert classifier.classes["stroma"] == "#123456"
    assert classifier.predict(nuclei).probabilities.shape == (len(nuclei), 2)


def test_features_of_another_network_are_refused_by_name() -> None:
    classifier, nuclei, _ = taught()
    other = SlideNuclei(**{**vars(nuclei), "network": {"name": "big", "sha256": "cd" * 32}})
    with pytest.raises(UserError, match=r"tiny \(abababab\), and slide 0 has .*big \(cdcdcdcd\)"):
        classifier.predict(other)


def test_examples_of_several_slides_join() -> None:
    first, _, _ = taught(count=10)
    other, known = slide(seed=1)
    joined = with_examples(first, examples(other, known, 10), Moments.of(other))
    assert joined.examples.counts() == dict.fromkeys(sorted(NAMES), 20)
    assert list(joined.classes.items()) == list(first.classes.items())
    unseen, truth = slide(seed=2)
    names = np.array(list(joined.classes))
    accuracy = [(names[each.predict(unseen).codes] == truth).mean() for each in (first, joined)]
    assert accuracy[1] > accuracy[0] - 0.02


def test_a_file_holds_all(tmp_path: Path) -> None:
    classifier, nuclei, _ = taught()
    file = tmp_path / "mine.safetensors"
    save_classes(file, classifier)
    read = load_classes(file)
    assert (read.network, read.classes) == (classifier.network, classifier.classes)
    one, other = (each.predict(nuclei).probabilities for each in (classifier, read))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(read.report().confusion, classifier.report().confusion)
    card = read_classes_card(file)
    assert card["examples"] == dict.fromkeys(sorted(NAMES), 40)
    assert card["f1"]["tumour"][1] <= card["f1"]["tumour"][0] <= card["f1"]["tumour"][2]
    other_slide, known = slide(seed=1)
    more = with_examples(read, examples(other_slide, known, 5), Moments.of(other_slide))
    assert len(more.examples) == 135


def test_files_that_are_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier_file, "classes_dir", lambda: tmp_path)
    classifier, _, _ = taught()
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        save_classes(tmp_path / "mine.pkl", classifier)
    with pytest.raises(UserError, match="There are no classes 'other'"):
        find_classes("other")
    file = tmp_path / "mine.safetensors"
    save_classes(file, classifier)
    assert find_classes("mine") == file
    assert list_classes() == {"mine": file}
    with pytest.raises(UserError, match=r"There are no classes 'other'.*one of mine"):
        find_classes("other")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        load_classes(file)
    save_file({"x": np.zeros(3)}, file)
    with pytest.raises(UserError, match="holds no taught classes"):
        load_classes(file)
    save_classes(file, classifier)
    monkeypatch.setattr(classifier_file, "_DESCRIPTION", {"features": 2})
    with pytest.raises(UserError, match="which described nuclei otherwise: teach"):
        load_classes(file)


def test_the_list_asks_for_uncertain_nuclei_far_apart() -> None:
    classifier, nuclei, _ = taught(count=20)
    predicted = classifier.predict(nuclei)
    known = set(range(1, 60))
    asked = next_nuclei(nuclei, classifier, predicted, known, 12)
    assert len(set(asked.tolist())) == 12
    assert not known & set(asked.tolist())
    index = np.searchsorted(nuclei.labels, asked)
    best = np.sort(predicted.probabilities, axis=1)
    margin = best[:, -1] - best[:, -2]
    assert margin[index].max() < np.median(margin)
    assert (np.diff(margin[index]) >= 0).all()
    assert np.bincount(predicted.codes[index], minlength=3).tolist() == [4, 4, 4]
    distance = np.linalg.norm(nuclei.centres[index][:, None] - nuclei.centres[index], axis=2)
    assert np.median(distance) > 400  # of 2,000 µm
    left = next_nuclei(nuclei, classifier, predicted, nuclei.labels[5:].tolist(), 12)
    assert sorted(left.tolist()) == [1, 2, 3, 4, 5]
    assert not len(next_nuclei(nuclei, classifier, predicted, nuclei.labels.tolist(), 12))


def test_the_list_asks_for_classes_with_few_examples() -> None:
    nuclei, true = slide()
    index = np.concatenate(
        [np.flatnonzero(true == name)[:n] for name, n in zip(NAMES, (40, 40, 5), strict=True)]
    )
    given = Examples.of(nuclei, {int(nuclei.labels[i]): true[i] for i in index})
    classifier = fit_classifier(given, Moments.of(nuclei), NETWORK)
    predicted = classifier.predict(nuclei)
    asked = next_nuclei(nuclei, classifier, predicted, nuclei.labels[index].tolist(), 10)
    codes = predicted.codes[np.searchsorted(nuclei.labels, asked)]
    assert (np.array(list(classifier.classes))[codes] == "tumour").all()
