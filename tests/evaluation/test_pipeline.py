import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy.io import savemat
from torch import Tensor
from torch.nn.functional import avg_pool2d

import napari_nucleus
from napari_nucleus.datasets import Sample, Source, load_source
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation import evaluate, evaluate_steps, pipeline
from napari_nucleus.evaluation.fit_postprocessing import fit_parameters
from napari_nucleus.evaluation.validation import validate
from napari_nucleus.inference import segment
from napari_nucleus.instances import HOVER
from napari_nucleus.metrics import score_pair
from napari_nucleus.metrics.aggregate import Nuclei, score_image, summarize
from napari_nucleus.nucleus_types import UNKNOWN
from tests.tissue import TYPES, Decoder, Tissue, tissue, write_dataset

SCORES = {"dice", "dice2", "aji", "aji_plus", "dq", "sq", "pq"}


@pytest.fixture(scope="module")
def made() -> dict[str, Tissue]:
    return {"a": tissue(120, 150, 1), "b": tissue(100, 90, 2)}


@pytest.fixture
def data(made: dict[str, Tissue], tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "made", made, coded=True)


def write_labels(folder: Path, images: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, labels in images.items():
        tifffile.imwrite(folder / f"{name}.tif", labels.astype(np.int32))
    return folder


def test_model_that_sees_everything_scores_one(data: Path) -> None:
    scores = evaluate(Decoder(), [data])
    assert scores["images"] == 2
    assert {key: scores[key] for key in SCORES} == dict.fromkeys(SCORES, pytest.approx(1, abs=1e-3))
    assert scores["f1d"] == scores["accuracy"] == 1
    assert scores["f1"] == {"dark": 1, "pale": 1}
    assert (scores["bpq"], scores["mpq"]) == pytest.approx((1, 1), abs=1e-3)
    typed = {"miou", "weighted_f1", "f1d", "accuracy", "bpq", "mpq"}
    assert scores["ci95"].keys() == SCORES | typed
    assert scores["per_dataset"].keys() == {"made"}
    rows = [(row["dataset"], row["name"]) for row in scores["per_image"]]
    assert rows == [("made", "a"), ("made", "b")]
    json.dumps(scores, allow_nan=False)


def test_scores_are_means_over_images_of_all_folders(
    made: dict[str, Tissue], tmp_path: Path
) -> None:
    truth = {name: one.labels for name, one in made.items()}
    pred = {name: np.roll(labels, 2, 1) for name, labels in truth.items()}
    pred["a"] = np.where(pred["a"] % 3, pred["a"], 0)
    scores = evaluate(
        pred=write_labels(tmp_path / "pred", pred), truth=write_labels(tmp_path / "truth", truth)
    )
    each = [score_pair(truth[name], pred[name]) for name in "ab"]
    for key in SCORES:
        assert scores[key] == pytest.approx(np.mean([one[key] for one in each]))
        low, high = scores["ci95"][key]
        assert min(one[key] for one in each) <= low <= scores[key] <= high
    assert [row["pq"] for row in scores["per_image"]] == [one["pq"] for one in each]
    assert "f1" not in scores


def test_results_and_dataset_folders_are_compared(data: Path, tmp_path: Path) -> None:
    for name in "ab":
        image = data / "images" / f"{name}.png"
        segment(image, tmp_path / "pred" / f"{name}.nucleus", Decoder(), mpp=0.25)
    by_folder = evaluate(pred=tmp_path / "pred", truth=data)
    by_model = evaluate(Decoder(), [data])
    assert by_folder == by_model


def test_types_by_hand(tmp_path: Path) -> None:
    """Four nuclei: right, of the other type, missed, and one that is not there."""
    labels = np.zeros((40, 80), np.int32)
    for number in range(4):
        labels[10:20, 20 * number + 2 : 20 * number + 14] = number + 1
    truth, pred = labels * (labels < 4), labels * (labels != 3)
    folders = [
        write_labels(tmp_path / name, {"x": side}) for name, side in (("t", truth), ("p", pred))
    ]
    (folders[0] / "x.csv").write_text("label,type\n1,dark\n2,dark\n3,pale\n")
    (folders[1] / "x.csv").write_text("label,type\n1,dark\n2,pale\n4,pale\n")
    scores = evaluate(pred=folders[1], truth=folders[0])
    assert scores["f1d"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert scores["accuracy"] == 0.5
    # a type mistaken on either side counts twice, as in the reference
    assert scores["f1"] == {
        "dark": pytest.approx(2 * 1 / (2 * 1 + 2 * 1)),
        "pale": 0,
    }
    assert scores["bpq"] == scores["pq"] == pytest.approx(2 / 3, abs=1e-5)
    assert scores["mpq"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-5)
    counts = {k: (v["annotated"], v["predicted"]) for k, v in scores["per_class"].items()}
    assert counts == {"dark": (2, 1), "pale": (1, 2)}
    # dark: one of three found; pale: none of three
    pq = {name: of["pq"] for name, of in scores["per_class"].items()}
    assert pq == {"dark": pytest.approx(2 / 3, abs=1e-5), "pale": 0}


def test_nuclei_of_unknown_type_do_not_count_for_types() -> None:
    one = tissue(120, 120, 3)
    kinds = np.array([0, *(TYPES.index(kind) + 1 for kind in one.types)])
    partly = kinds.copy()
    partly[1::2] = UNKNOWN
    mistaken = np.where(np.arange(len(kinds)) % 2 == 1, 3 - kinds, kinds)
    image = score_image("d", "x", Nuclei(one.labels, partly), Nuclei(one.labels, mistaken), types=2)
    scores = summarize([image], TYPES)
    assert scores["f1"] == {"dark": 1, "pale": 1}
    assert scores["mpq"] == pytest.approx(1, abs=1e-3)


def test_centres_are_paired_within_three_micrometres() -> None:
    """Eight pixels are 2 µm at 0.25 µm/px, and 4 µm at 0.5."""
    true, pred = np.zeros((2, 30, 60), int)
    true[10:20, 10:40], pred[10:20, 18:48] = 1, 1
    sides = (Nuclei(true, np.array([0, 1])), Nuclei(pred, np.array([0, 1])))
    for mpp, f1 in ((0.25, 1), (0.5, 0)):
        image = score_image("d", "x", *sides, types=1, mpp=mpp)
        assert summarize([image], ["a"])["f1"] == {"a": f1}


def test_what_a_dataset_says_of_its_images_counts(
    made: dict[str, Tissue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Background that is ignored, tissue by image, µm/px: eight pixels of 0.5 µm are too far."""
    one = made["a"]
    kinds = np.array([0, *(TYPES.index(kind) + 1 for kind in one.types)], np.uint8)
    whole = Sample(
        "whole", "d", one.coded(), one.labels, kinds, np.zeros(len(kinds), bool), 0.5, tissue="skin"
    )
    left_out = one.labels % 2 == 0
    part = replace(
        whole,
        name="part",
        labels=np.where(left_out, 0, one.labels),
        ignored=left_out & (one.labels > 0),
    )
    far = replace(whole, name="far", labels=np.roll(one.labels, 8, 1), tissue="liver")
    monkeypatch.setattr(pipeline, "load_source", lambda *_: [whole, part, far])
    scores = evaluate(Decoder(mpp=0.5), ["d"])
    pq = [row["bpq"] for row in scores["per_image"]]
    assert pq[:2] == pytest.approx([1, 1], abs=1e-3)
    assert pq[2] < 0.5
    assert scores["bpq"] == pytest.approx((1 + pq[2]) / 2, abs=1e-3)
    assert [row["f1d"] > 0.5 for row in scores["per_image"]] == [True, True, False]


def test_model_with_other_types_is_scored_without(data: Path) -> None:
    assert "f1" not in evaluate(Decoder(types=("round", "square")), [data])


def test_resolution_is_told_to_the_model(data: Path) -> None:
    """A model of 0.5 µm/px on images of 0.5 sees what one of 0.25 sees on images of 0.25."""
    usual = evaluate(Decoder(), [data])
    coarse = evaluate(Decoder(mpp=0.5), [data], mpp=0.5)
    assert coarse["per_image"] == usual["per_image"]


def test_image_without_nuclei_leaves_scores_undefined(tmp_path: Path) -> None:
    empty = np.zeros((20, 20))
    scores = evaluate(
        pred=write_labels(tmp_path / "pred", {"x": empty}),
        truth=write_labels(tmp_path / "truth", {"x": empty}),
    )
    assert np.isnan(scores["dice"])
    assert np.isnan(scores["ci95"]["pq"]).all()


def test_progress_counts_images(data: Path) -> None:
    assert list(evaluate_steps(Decoder(), [data])) == [(0, 2), (1, 2), (2, 2)]


def test_dataset_as_published_is_scored_by_part_and_class(
    made: dict[str, Tissue], tmp_path: Path
) -> None:
    """CoNSeP: class 2 is inflammatory, and fibroblasts, 5, count as spindle-shaped."""
    folder = tmp_path / "CoNSeP"
    for name, part in (("train_1", "Train"), ("test_1", "Test")):
        one = made["a" if part == "Train" else "b"]
        for kind in ("Images", "Labels"):
            (folder / part / kind).mkdir(parents=True)
        Image.fromarray(one.coded()).save(folder / part / "Images" / f"{name}.png")
        classes = np.array([0, *({"dark": 2, "pale": 5}[kind] for kind in one.types)])
        maps = {"inst_map": one.labels.astype(float), "type_map": classes[one.labels].astype(float)}
        savemat(folder / part / "Labels" / f"{name}.mat", maps)
    model = Decoder(types=("inflammatory", "spindle"))
    scores = evaluate(model, [folder], parts=["test"])
    assert [row["name"] for row in scores["per_image"]] == ["test_1"]
    assert list(scores["per_dataset"]) == ["CoNSeP test"]
    assert scores["f1"] == {"inflammatory": 1, "spindle": 1}
    counts = {name: of["annotated"] for name, of in scores["per_class"].items()}
    dark = int(np.sum(made["b"].types == "dark"))
    assert counts == {"inflammatory": dark, "spindle": len(made["b"].types) - dark}
    source = Source(folder, parts=("train", "test"), types={"fibroblast": "inflammatory"})
    renamed = evaluate(model, [source])
    assert list(renamed["per_dataset"]) == ["CoNSeP test", "CoNSeP train"]
    assert renamed["per_class"]["spindle"]["annotated"] == 0
    assert renamed["f1"]["inflammatory"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give either a model and data, or predictions and their truth"),
        ({"pred": "made"}, "Give either"),
        ({"pred": "made", "truth": "made", "data": ["made"]}, "Give either"),
        ({"pred": "nothing", "truth": "made"}, "nothing holds no label images"),
        ({"pred": "part", "truth": "made"}, r"part holds no b\.tif or b\.nucleus, as made does"),
        ({"pred": "small", "truth": "made"}, r"a\.tif is 150 x 120 px, .* 3 x 4: they must match"),
        ({"model": "none", "data": ["made"]}, "Unknown weights 'none'"),
    ],
)
def test_mistakes_are_told(
    data: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, message: str
) -> None:
    monkeypatch.chdir(data.parent)
    Path("nothing").mkdir()
    write_labels(Path("part"), {"a": np.zeros((120, 150))})
    write_labels(Path("small"), dict.fromkeys("ab", np.zeros((4, 3))))
    with pytest.raises(UserError, match=message):
        evaluate(**arguments)


def test_missing_annotation_is_told_before_work_begins(data: Path) -> None:
    (data / "labels" / "b.tif").unlink()
    with pytest.raises(UserError, match=r"b\.tif is missing"):
        next(evaluate_steps(Decoder(), [data]))


def test_package_offers_its_jobs() -> None:
    assert napari_nucleus.evaluate is evaluate
    assert napari_nucleus.segment is segment
    assert set(napari_nucleus.__all__) <= set(dir(napari_nucleus))
    with pytest.raises(AttributeError, match="no attribute 'segmant'"):
        napari_nucleus.segmant  # noqa: B018


class Blurred(Decoder):
    """Is less sure of nuclei, and takes some of their surroundings for nucleus."""

    def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = super().maps(logits)
        blurred = avg_pool2d(maps["np"][:, None], 5, 1, 2, count_include_pad=False)[:, 0]
        return {**maps, "np": 0.8 * blurred}


@pytest.fixture
def samples(data: Path) -> list[Sample]:
    return load_source(Source(data), TYPES)


def test_training_scores_as_evaluation_does(data: Path, samples: list[Sample]) -> None:
    model = Blurred()
    validated = validate(model, samples)
    evaluated = evaluate(model, [data])
    assert 0.5 < evaluated["pq"] < 0.99
    for key, value in validated["datasets"]["made"].items():
        assert value == pytest.approx(evaluated[key], abs=1e-6), key
    f1 = np.mean(list(evaluated["f1"].values()))
    assert validated["score"] == pytest.approx((evaluated["aji"] + f1) / 2)


def test_score_without_types_is_the_mean_over_datasets(
    made: dict[str, Tissue], tmp_path: Path
) -> None:
    folders = [
        write_dataset(tmp_path / "one", {"a": made["a"]}, coded=True),
        write_dataset(tmp_path / "two", {"b": made["b"], "c": made["b"]}, coded=True),
    ]
    samples = [sample for folder in folders for sample in load_source(Source(folder))]
    scores = validate(Blurred(), samples)
    one, two = (scores["datasets"][name]["aji"] for name in ("one", "two"))
    assert scores["score"] == pytest.approx((one + two) / 2)
    assert "f1" not in scores["datasets"]["one"]


def test_finding_nothing_scores_nothing(samples: list[Sample]) -> None:
    model = Decoder()
    model.instances = {"min_size": 10_000}
    assert validate(model, samples)["score"] == 0


def test_parameters_are_fitted_to_annotated_images(samples: list[Sample]) -> None:
    model = Blurred()
    model.instances = {"min_size": 77}
    *_, fitted = fit_parameters(model, samples)
    assert model.instances == {"min_size": 77}
    assert fitted.keys() == HOVER.published.keys()

    def quality(instances: dict) -> float:
        model.instances = instances
        return validate(model, samples)["datasets"]["made"]["pq"]

    assert quality(fitted) > quality(HOVER.published)
    # half of 0.8 is where the edge of a blurred nucleus is, and less where it is narrow
    assert 0.3 <= fitted["np_threshold"] <= 0.4


def test_masks_that_do_not_match_their_image_are_told(data: Path) -> None:
    Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(data / "images" / "a.png")
    with pytest.raises(UserError, match=r"a\.tif has labels of 150 x 120 px, its image 10 x 10"):
        evaluate(Decoder(), [data])


def test_table_of_types_may_have_more_columns_and_fewer_rows(data: Path) -> None:
    table = pd.read_csv(data / "labels" / "a.csv").iloc[:5].assign(source="x")
    table.to_csv(data / "labels" / "a.csv", index=False)
    assert evaluate(Decoder(), [data])["f1"] == {"dark": 1, "pale": 1}
