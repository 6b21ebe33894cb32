import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs
import pytest
from typer.testing import CliRunner

from napari_nucleus.cli import app
from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256
from napari_nucleus.results import open_result
from napari_nucleus.results.features import FeatureStore
from napari_nucleus.teaching import classify, load_classes, make_features, save_classes, teach
from napari_nucleus.teaching import pipeline as module
from tests.teaching.folder import Colours, kinds, write_result

COLUMNS = 14
TRUE = kinds(10, COLUMNS)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Colours:
    network = Colours()
    file = tmp_path / "colours.safetensors"
    file.write_bytes(b"weights")
    network.sha256 = sha256(file)
    monkeypatch.setattr(make_features, "list_checkpoints", lambda: {"colours": file})
    monkeypatch.setattr(module, "_loaded", lambda *_: network)
    return network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_result(tmp_path / "slide.nucleus").path


def show(path: Path, count: int) -> list[int]:
    """Give the first nuclei of either kind their class by hand, and return their labels."""
    shown: list[int] = []
    with EditSession(path) as session:
        for kind in ("dark", "pale"):
            if kind not in session.types:
                session.apply(annotations.add_type, kind)
            labels = (np.flatnonzero(kind == TRUE)[:count] + 1).tolist()
            session.apply(operations.reclassify, labels, kind)
            shown += labels
    return shown


def call(*arguments: object) -> tuple[int, str, str]:
    answer = CliRunner().invoke(app, [str(each) for each in arguments])
    return answer.exit_code, answer.stdout, answer.stderr


def test_a_few_examples_type_a_slide_and_another(path: Path, tmp_path: Path) -> None:
    shown = show(path, 5)
    classifier = teach([path])
    assert classifier.examples.counts() == {"dark": 5, "pale": 5}
    before = open_result(path).table()
    counts = classify(path, classifier)
    after = open_result(path).table()
    assert (after["type"] == TRUE).mean() > 0.97
    assert counts["nuclei"] == len(TRUE)
    assert list(counts) == ["nuclei", "dark", "pale"]
    own = after["label"].isin(shown)
    pd.testing.assert_frame_equal(after[own], before[own])
    assert (after["edited"] == own).all()
    with EditSession(path) as session:
        assert session.can_undo == "classify"
        session.undo()
        pd.testing.assert_frame_equal(session.table(), before)
    other = write_result(tmp_path / "other.nucleus", seed=1)
    classify(other.path, classifier)
    assert (open_result(other.path).table()["type"] == TRUE).mean() > 0.97


def test_corrections_after_classifying_teach_more(path: Path) -> None:
    show(path, 5)
    classify(path, teach([path]))
    wrong = [20, 21]  # two that this user sees otherwise
    with EditSession(path) as session:
        session.apply(operations.reclassify, wrong, "pale")
    classifier = teach([path])
    assert len(classifier.examples) == 12
    classify(path, classifier)
    table = open_result(path).table().set_index("label")
    assert (table.loc[wrong, "type"] == "pale").all()
    assert (table.loc[wrong, "type_prob"] == 1).all()


def test_command_line(path: Path, tmp_path: Path) -> None:
    shown = show(path, 6)
    file = tmp_path / "kinds.safetensors"
    code, out, err = call("teach", path, "--out", file)
    assert code == 0, err
    assert "dark: 6 examples, F1 1.00" in out
    assert "cross-validation" in out
    other = write_result(tmp_path / "other.nucleus", seed=1)
    code, out, err = call("classify", path, other.path, tmp_path / "none", "--with", file, "--json")
    assert code == 1
    answer = json.loads(out)
    assert [Path(each["result"]).name for each in answer["results"]] == [
        "slide.nucleus",
        "other.nucleus",
    ]
    assert answer["results"][0]["counts"]["nuclei"] == len(TRUE)
    assert "is not a result folder" in answer["errors"][0]["error"]
    assert "Error: " in err
    table = open_result(path).table()
    assert table.loc[table["label"].isin(shown), "edited"].all()


def test_models_lists_what_was_taught(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_data_path", lambda _: tmp_path)
    show(path, 4)
    save_classes(tmp_path / "classes" / "kinds.safetensors", teach([path]))
    (tmp_path / "classes" / "broken.safetensors").write_bytes(b"x")
    code, out, err = call("models")
    assert code == 0
    assert "Taught classes kinds: dark, pale (on decoder)" in out
    assert "broken.safetensors is damaged" in err
    code, _, err = call("classify", path, "--with", "kinds")
    assert code == 0, err


def test_examples_from_tables(path: Path, tmp_path: Path) -> None:
    other = write_result(tmp_path / "other.nucleus", seed=1)
    index = np.arange(1, 21)
    half = pd.DataFrame({"label": index, "type": TRUE[index - 1], "note": "x"})
    half.loc[2, "type"] = None  # left open
    csv = tmp_path / "kinds.csv"
    half.to_csv(csv, index=False)
    assert len(teach([path], csv).examples) == 19
    both = pd.concat([half.assign(result="slide"), half.assign(result="other.nucleus")])
    both.to_csv(csv, index=False)
    classifier = teach([path, other.path], csv)
    assert len(classifier.examples) == 38
    assert len(classifier.moments.means) == 2
    show(path, 2)
    assert len(teach([path, other.path], csv).examples) == 38 + sum(
        label > 20 or label == 3 for label in show(path, 2)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="label"), "has no column label"),
        (lambda t: t.drop(columns="result"), "has no column result"),
        (lambda t: t.replace({"result": {"slide": "else"}}), "has examples of else: give this"),
        (lambda t: t.assign(label=t["label"] + 900), "has no nucleus 901: mend"),
    ],
)
def test_tables_that_do_not_fit(
    path: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    other = write_result(tmp_path / "other.nucleus", seed=1)
    table = pd.DataFrame({"label": [1, 2], "type": ["a", "b"], "result": ["slide", "slide"]})
    csv = tmp_path / "kinds.csv"
    change(table).to_csv(csv, index=False)
    with pytest.raises(UserError, match=message):
        teach([path, other.path], csv)


def test_a_table_that_is_none(path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"")
    code, _, err = call("teach", path, "--examples", tmp_path / "t.csv", "--out", "f.safetensors")
    assert code == 1
    assert "t.csv cannot be read" in err
    assert len(err.splitlines()) == 1


def test_without_examples(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no examples: set the class of nuclei"):
        teach([path])
    shown = show(path, 4)
    with EditSession(path) as session:  # those of one class are all deleted
        session.apply(operations.delete, shown[:4])
    with pytest.raises(UserError, match="All examples are of the class pale"):
        teach([path])


def test_features_of_another_network(path: Path, tmp_path: Path) -> None:
    show(path, 4)
    file = tmp_path / "kinds.safetensors"
    save_classes(file, teach([path]))
    other = write_result(tmp_path / "other.nucleus", seed=1)
    FeatureStore.create(other.path, {"name": "big", "sha256": "cd" * 32}, 6)
    before = (other.path / "features.zarr" / "zarr.json").read_bytes()
    with pytest.raises(UserError, match=r"features of decoder .*, and .*has those of big"):
        classify(other.path, load_classes(file))
    assert (other.path / "features.zarr" / "zarr.json").read_bytes() == before


def test_a_result_whose_image_is_gone(path: Path) -> None:
    show(path, 4)
    path.with_name("slide.tif").unlink()
    with pytest.raises(UserError, match="which is neither there nor beside it"):
        teach([path])
    assert len(open_result(path).table()) == len(TRUE)


def test_a_result_that_is_being_corrected(path: Path) -> None:
    show(path, 4)
    classifier = teach([path])
    with (
        EditSession(path),
        pytest.raises(UserError, match="is being corrected in another window"),
    ):
        classify(path, classifier)
