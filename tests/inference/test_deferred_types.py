"""Types told by a graph of all nuclei, on the road from an image to its result folder."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from torch import Tensor

from napari_nucleus.datasets import Sample
from napari_nucleus.errors import UserError
from napari_nucleus.evaluation.validation import validate
from napari_nucleus.inference import predict_image, segment, segment_steps
from napari_nucleus.models import registry
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.results import export, open_result
from napari_nucleus.slides import Slide, slide_from_arrays
from tests.graph_decoder import STRIDE, GraphDecoder, Words
from tests.test_cli import answer
from tests.tissue import TYPES, Decoder, Tissue, tiled, tissue


@pytest.fixture(scope="module")
def made() -> Tissue:
    return tissue(420, 500, seed=1)


@pytest.fixture(scope="module")
def slide(made: Tissue) -> Slide:
    return slide_from_arrays([made.coded()], 0.25, "made")


@pytest.fixture(scope="module")
def whole(slide: Slide, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The nuclei, found in a single tile."""
    folder = tmp_path_factory.mktemp("whole") / "made.nucleus"
    table = segment(slide, folder, GraphDecoder()).table()
    assert table["type"].value_counts(normalize=True).reindex(TYPES, fill_value=0).min() > 0.15
    return table


def same_nuclei(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of nuclei that both tables have, in the same order."""
    xy = ["centroid_x", "centroid_y"]
    distance, nearest = cKDTree(other[xy]).query(one[xy])
    return one[distance < 1], other.iloc[nearest[distance < 1]]


def isolated(network: GraphDecoder) -> GraphDecoder:
    """Return the network with nuclei that know no neighbours."""
    network.tp.edges = False
    return network


@pytest.mark.parametrize("scale", [1, 1.6])
@pytest.mark.parametrize("tile", [96, 256])
def test_types_do_not_depend_on_the_tiles(
    slide: Slide, tmp_path: Path, tile: int, scale: float
) -> None:
    """Tiles of 96 px put hundreds of nuclei onto seams; not one may lose a neighbour."""
    network = GraphDecoder(mpp=0.25 * scale)
    one, other = (
        segment(slide, tmp_path / f"{side}.nucleus", tiled(network, side)).table()
        for side in (640, tile)
    )
    assert len(one) == len(other)
    one, other = same_nuclei(one, other)
    assert len(one) >= 0.99 * len(other)
    assert np.mean(one["type"].to_numpy() == other["type"].to_numpy()) >= 0.99
    if scale == 1:  # else a few outlines differ, and with them what their neighbours hear
        np.testing.assert_allclose(one["type_prob"], other["type_prob"], atol=0.01)


def test_neighbours_decide(slide: Slide, whole: pd.DataFrame, tmp_path: Path) -> None:
    """Without edges the same weights answer otherwise: what the tests above hold is not empty."""
    alone = segment(slide, tmp_path / "alone.nucleus", isolated(GraphDecoder())).table()
    assert np.mean(alone["type"].to_numpy() != whole["type"].to_numpy()) > 0.2


def test_image_in_memory_is_typed_as_the_slide_is(made: Tissue, whole: pd.DataFrame) -> None:
    network = GraphDecoder()
    labels, table = network.nuclei(predict_image(made.coded(), tiled(network, 96)))
    assert labels.max() == len(table)
    _, same = same_nuclei(table, whole)
    assert len(same) == len(whole)
    assert table["type"].tolist() == same["type"].tolist()
    np.testing.assert_allclose(table["type_prob"], same["type_prob"], atol=1e-5)


def test_maps_of_lower_resolution_are_put_together_from_their_tiles(made: Tissue) -> None:
    image = made.coded()[:413, :487]
    expected = GraphDecoder().predict(torch.from_numpy(image).movedim(-1, 0)[None])[0]
    pieces = predict_image(image, tiled(GraphDecoder(), 96))
    assert pieces.keys() == expected.keys()
    assert pieces["features"].shape == (3, -(-413 // STRIDE), -(-487 // STRIDE))
    assert pieces["features"].dtype == np.float16
    for key, values in expected.items():
        np.testing.assert_allclose(pieces[key], values, atol=1e-3)


def test_region_keeps_the_types(slide: Slide, whole: pd.DataFrame, tmp_path: Path) -> None:
    """Places count from the slide's first pixel, so that a sentence does not change."""
    region = (64, 64, 384, 320)  # whole strides: the network sees what it saw in the whole
    part = segment(
        slide, tmp_path / "part.nucleus", tiled(GraphDecoder(), 96), region=region
    ).table()
    found, same = same_nuclei(part, whole)
    assert len(found) == len(part)
    x, y = found["centroid_x"].to_numpy(), found["centroid_y"].to_numpy()
    inner = (x > 154) & (x < 358) & (y > 154) & (y < 294)  # two neighbours away from the edge
    assert inner.sum() > 30
    assert found["type"].to_numpy()[inner].tolist() == same["type"].to_numpy()[inner].tolist()
    difference = found["type_prob"].to_numpy() - same["type_prob"].to_numpy()
    np.testing.assert_allclose(difference[inner], 0, atol=1e-5)
    cut = slide_from_arrays([slide.read(*region)], 0.25)
    moved = segment(cut, tmp_path / "moved.nucleus", GraphDecoder()).table()
    moved[["centroid_x", "centroid_y"]] += 64
    found, same = same_nuclei(moved, part)
    assert np.median(np.abs(found["type_prob"].to_numpy() - same["type_prob"].to_numpy())) > 0.01


def test_sentences_are_encoded_once_for_a_slide(slide: Slide, tmp_path: Path) -> None:
    network = GraphDecoder()
    words = Words()
    network.bank._encode = words
    segment(slide, tmp_path / "made.nucleus", tiled(network, 96))
    assert len(words.asked) == len(set(words.asked)) > 5


def test_result_is_like_any_other(slide: Slide, tmp_path: Path, made: Tissue) -> None:
    """Folder, table, counts and exports, and labels to the pixel."""
    Image.fromarray(made.coded()).save(tmp_path / "made.png")
    by_pixels, by_graph = (
        segment(tmp_path / "made.png", tmp_path / f"{network.name}.nucleus", network, mpp=0.25)
        for network in (Decoder(), GraphDecoder())
    )
    assert {file.name for file in by_pixels.path.iterdir()} == {
        file.name for file in by_graph.path.iterdir()
    }
    one, other = by_pixels.table(), by_graph.table()
    typed = ["type", "type_prob"]
    pd.testing.assert_frame_equal(one.drop(columns=typed), other.drop(columns=typed))
    assert one.dtypes.equals(other.dtypes)
    assert list(one) == list(other)
    assert other["type_prob"].between(0.5, 1).all()
    counts = by_graph.run["counts"]
    assert counts == {"nuclei": len(other), **other["type"].value_counts().to_dict()}
    assert by_graph.run["model"]["types"] == list(TYPES)
    for levels in zip(by_pixels.levels, by_graph.levels, strict=True):
        assert np.array_equal(levels[0][:], levels[1][:])
    export.write_csv(by_graph, tmp_path / "made.csv")
    assert pd.read_csv(tmp_path / "made.csv")["type"].tolist() == other["type"].tolist()
    export.write_geojson(by_graph, tmp_path / "made.geojson")
    features = json.loads((tmp_path / "made.geojson").read_text())["features"]
    names = [feature["properties"]["classification"]["name"] for feature in features]
    assert names == other["type"].tolist()
    export.write_overlay(by_graph, tmp_path / "made.png.overlay.png")


def test_command_line_segments_with_such_a_model(
    made: Tissue, whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        registry._BUILDERS, "graph_decoder", lambda types, pretrained, mpp: GraphDecoder(types, mpp)
    )
    save_checkpoint(tmp_path / "graph.safetensors", GraphDecoder())
    Image.fromarray(made.coded()).save(tmp_path / "made.png")
    options = ("--out", tmp_path, "--model", tmp_path / "graph.safetensors", "--mpp", 0.25)
    told = answer("segment", tmp_path / "made.png", *options)
    table = open_result(tmp_path / "made.nucleus").table()
    assert np.mean(table["type"].to_numpy() == whole["type"].to_numpy()) > 0.98
    assert str(len(table)) in json.dumps(told)


@pytest.mark.parametrize("stop", ["cancelled", "failed"])
def test_stopping_leaves_an_earlier_result(slide: Slide, tmp_path: Path, stop: str) -> None:
    out = tmp_path / "made.nucleus"
    segment(slide, out, GraphDecoder(), region=(0, 0, 200, 200))
    before = open_result(out).table()

    class Failing(GraphDecoder):
        def classify(self, *arguments: object) -> None:  # type: ignore[override]
            raise MemoryError

    steps = segment_steps(slide, out, tiled(Failing(), 96))
    if stop == "failed":
        with pytest.raises(MemoryError):
            for _ in steps:
                pass
    else:
        for _ in range(5):
            next(steps)
        steps.close()
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"made.nucleus", "made.nucleus.unfinished"}
    pd.testing.assert_frame_equal(open_result(out).table(), before)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6])
def test_few_nuclei_are_typed(count: int, tmp_path: Path) -> None:
    few = tissue(128, 128, seed=2, density=0.02)
    labels = np.where(few.labels <= count, few.labels, 0)
    slide = slide_from_arrays([Tissue(labels, few.types[:count]).coded()], 0.25)
    network = GraphDecoder()
    result = segment(slide, tmp_path / "few.nucleus", network)
    table = result.table()
    assert len(table) == result.run["counts"]["nuclei"] == count
    assert set(table["type"]) <= set(TYPES)
    assert not table.isna().any(axis=None)
    _, in_memory = network.nuclei(predict_image(slide.read(0, 0, 128, 128), network))
    assert in_memory["type"].tolist() == table["type"].tolist()


def test_features_that_are_no_numbers_stop_the_run(slide: Slide, tmp_path: Path) -> None:
    class Diverged(GraphDecoder):
        def maps(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
            return {**super().maps(logits), "features": logits["features"].half() * torch.nan}

    with pytest.raises(UserError, match=r"are not finite numbers.*use another checkpoint"):
        segment(slide, tmp_path / "made.nucleus", Diverged())
    assert not list(tmp_path.iterdir())
    image = slide.read(0, 0, 200, 200)
    with pytest.raises(UserError, match="are not finite numbers"):
        Diverged().nuclei(predict_image(image, Diverged()))


def test_validation_scores_the_types(made: Tissue) -> None:
    """Against annotations that are the network's own answer."""
    network = GraphDecoder()
    labels, table = network.nuclei(predict_image(made.coded(), network))
    kinds = [0, *(TYPES.index(name) + 1 for name in table["type"])]
    sample = Sample(
        name="made",
        dataset="made",
        image=made.coded(),
        labels=labels,
        types=np.array(kinds, np.uint8),
        doubtful=np.zeros(len(kinds), bool),
        mpp=0.25,
    )
    own, blind = (
        validate(network, [sample])["datasets"]["made"]
        for network in (network, isolated(GraphDecoder()))
    )
    assert own["pq"] == blind["pq"] == pytest.approx(1, abs=1e-4)
    assert min(own["f1"].values()) == pytest.approx(1)
    assert max(blind["f1"].values()) < 0.8
