from napari_nucleus.retraining.verdict import verdict

BEFORE = {"pq": 0.5, "aji": 0.4, "f1d": 0.7, "f1": 0.41}


def test_classes_only_are_judged_by_their_f1() -> None:
    found = verdict(BEFORE, {**BEFORE, "f1": 0.47}, "types")
    assert str(found) == "F1 of the classes on the validation regions: 0.410 → 0.470."
    assert found.improved
    assert not found.lower


def test_segmentation_and_classes_are_both_told() -> None:
    found = verdict(BEFORE, {**BEFORE, "pq": 0.6, "f1": 0.4}, "decoder")
    assert str(found) == (
        "PQ on the validation regions: 0.500 → 0.600; F1 of the classes: 0.410 → 0.400."
    )
    assert found.lower == ("F1 of the classes: 0.410 → 0.400",)


def test_no_better_model_says_what_to_do() -> None:
    line = str(verdict({"pq": 0.5}, {"pq": 0.5}, "all"))
    assert line.endswith("0.500 → 0.500. No improvement: review more regions.")
    assert not verdict({"pq": 0.5}, {"pq": 0.5}, "all").lower


def test_classes_without_a_score_say_so() -> None:
    assert str(verdict({"pq": 0.5}, {"pq": 0.6}, "types")).startswith("No classes are annotated")
