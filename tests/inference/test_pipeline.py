import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage.draw import disk

from napari_nucleus.errors import UserError
from napari_nucleus.inference import Progress, on_this_machine, segment, segment_steps
from napari_nucleus.inference import pipeline as inference
from napari_nucleus.metrics.overlap import Overlap
from napari_nucleus.models import create_model
from napari_nucleus.models.checkpoints import save_checkpoint
from napari_nucleus.models.registry import _BUILDERS
from napari_nucleus.results import Result, open_result
from napari_nucleus.slides import Slide, slide_from_arrays
from tests.tissue import Decoder, Tissue, tiled, tissue


@pytest.fixture(scope="module")
def made() -> Tissue:
    return tissue(420, 500, seed=1)


@pytest.fixture(scope="module")
def slide(made: Tissue) -> Slide:
    return slide_from_arrays([made.coded()], 0.25, "made")


def labels_of(result: Result) -> np.ndarray:
    height, width = result.shape
    return result.read_labels(0, 0, width, height)


def best_iou(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """For every nucleus of `true` the highest IoU with one of `pred`."""
    overlap = Overlap.of(true, pred)
    union = overlap.true_size[overlap.true] + overlap.pred_size[overlap.pred] - overlap.shared
    best = np.zeros(len(overlap.true_size))
    np.maximum.at(best, overlap.true, overlap.shared / union)
    return best


@pytest.mark.parametrize(("scale", "least"), [(1, 1.0), (1.6, 0.85), (0.7, 0.95)])
@pytest.mark.parametrize("tile", [96, 640])
def test_every_nucleus_is_found_once_and_whole(
    made: Tissue, slide: Slide, tmp_path: Path, tile: int, scale: float, least: float
) -> None:
    """Tiles of 96 px put hundreds of nuclei onto seams."""
    result = segment(slide, tmp_path / "made.nucleus", tiled(Decoder(mpp=0.25 * scale), tile))
    found = best_iou(made.labels, labels_of(result))
    assert np.mean(found >= least) >= 0.99
    assert result.run["counts"]["nuclei"] == pytest.approx(len(made.types), abs=1)


@pytest.mark.parametrize("scale", [1, 1.6, 0.7])
def test_result_does_not_depend_on_the_tiles(slide: Slide, tmp_path: Path, scale: float) -> None:
    model = Decoder(mpp=0.25 * scale)
    large, small = (
        segment(slide, tmp_path / f"{tile}.nucleus", tiled(model, tile)) for tile in (640, 128)
    )
    assert large.run["counts"] == small.run["counts"]
    assert np.mean(best_iou(labels_of(large), labels_of(small)) > 0.95) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.6, 2, 0.7])
def test_nuclei_that_touch_across_a_seam_keep_their_border(tmp_path: Path, scale: float) -> None:
    crowded = slide_from_arrays([tissue(512, 512, seed=3, density=0.03).coded()], 0.25, "crowded")
    model = Decoder(mpp=0.25 * scale)
    whole, parts = (
        labels_of(segment(crowded, tmp_path / f"{tile}.nucleus", tiled(model, tile)))
        for tile in (640, 64)
    )
    assert whole.max() == parts.max() > 300
    assert best_iou(whole, parts).min() > 0.95


class Disagreeing(Decoder):
    """Sees each tile's nuclei moved along an axis, by so many pixels."""

    def __init__(self, axis: int, moves: list[int]) -> None:
        super().__init__()
        self.axis, self.moves = axis, iter(moves)

    def predict(self, images: torch.Tensor) -> list[dict[str, np.ndarray]]:
        return super().predict(images.roll(next(self.moves), dims=2 + self.axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_nucleus_at_a_seam_is_kept_though_its_tiles_disagree(
    tmp_path: Path, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two tiles takes its centre for the other's, or both for their own."""
    monkeypatch.setattr(on_this_machine, "_LANES", 1)  # in their order
    labels = np.zeros((288, 256), np.int32)
    for number in range(13):
        labels[disk((18 + 21 * number, 122 + number), 8)] = number + 1
    labels = labels if axis else labels.T.copy()
    image = Tissue(labels, np.full(13, "dark")).coded()
    # two tiles across the seam, three along it
    moves = [2, -2] * 3 if axis else [2] * 3 + [-2] * 3
    result = segment(
        slide_from_arrays([image], 0.25),
        tmp_path / "moved.nucleus",
        tiled(Disagreeing(axis, moves), 128),
        device="cpu",
    )
    assert result.run["counts"]["nuclei"] == 13
    assert best_iou(labels, labels_of(result)).min() > 0.6


def test_network_sees_a_place_the_same_way_in_every_tile() -> None:
    """Up to what lies beyond the margin, which a network's 7x7 kernels reach a little."""
    torch.manual_seed(0)
    model = create_model("histonext_atto", pretrained=False).eval()
    image = tissue(256, 320).stained()
    small, large = (inference.predict_image(image, tiled(model, tile))["np"] for tile in (96, 320))
    assert np.abs(small - large).mean() < 0.01 * large.std()


def test_maps_of_an_image_are_put_together_from_its_tiles(made: Tissue) -> None:
    image = made.coded()
    whole = Decoder().predict(torch.from_numpy(image).movedim(-1, 0)[None])[0]
    pieces = inference.predict_image(image, tiled(Decoder(), 96))
    assert pieces.keys() == whole.keys()
    for key, values in whole.items():
        assert np.array_equal(pieces[key], values)


def test_table_describes_the_labels(made: Tissue, slide: Slide, tmp_path: Path) -> None:
    result = segment(slide, tmp_path / "made.nucleus", tiled(Decoder(), 128))
    labels, table = labels_of(result), result.table()
    assert table["label"].tolist() == list(range(1, len(table) + 1))
    assert set(np.unique(labels)) == {0, *table["label"]}
    for row in table.sample(20, random_state=0).itertuples():
        y, x = np.nonzero(labels == row.label)
        assert (row.x0, row.y0, row.x1, row.y1) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert (row.centroid_x, row.centroid_y) == pytest.approx((x.mean(), y.mean()))
        assert row.area_um2 == pytest.approx(len(x) / 16, rel=1e-6)
        true = np.bincount(made.labels[y, x]).argmax()
        assert row.type == made.types[true - 1]
    assert 0.9 < table["type_prob"].min() <= table["type_prob"].max() <= 1.0001


def test_region_keeps_its_place(made: Tissue, slide: Slide, tmp_path: Path) -> None:
    whole = segment(slide, tmp_path / "whole.nucleus", Decoder())
    part = segment(
        slide, tmp_path / "part.nucleus", tiled(Decoder(), 96), region=(101, 90, 250, 200)
    )
    assert part.shape == whole.shape
    centres = whole.table()
    x, y = centres["centroid_x"], centres["centroid_y"]
    expected = centres[(x >= 101) & (x < 351) & (y >= 90) & (y < 290)]
    columns = ["centroid_x", "centroid_y", "area_um2", "type"]
    pd.testing.assert_frame_equal(
        part.table()[columns].sort_values(columns, ignore_index=True),
        expected[columns].sort_values(columns, ignore_index=True),
    )
    assert part.run["options"]["region"] == [101, 90, 250, 200]


def crossed(outline: list[tuple[float, float]], table: pd.DataFrame) -> np.ndarray:
    """Which centres lie in a polygon: a ray from them crosses its edges an odd number of times."""
    x, y = table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy()
    inside = np.zeros(len(table), bool)
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside


REGIONS = {
    "tumour": [(40.0, 30.0), (360.0, 60.0), (120.0, 330.0)],
    "stroma": [(200.0, 40.0), (480.0, 40.0), (480.0, 300.0), (200.0, 300.0)],
    "beyond": [(300.0, 350.0), (900.0, 350.0), (900.0, 800.0)],
}


@pytest.mark.parametrize("tile", [96, 640])
def test_regions_take_the_nuclei_centred_in_them_once(
    slide: Slide, tmp_path: Path, tile: int
) -> None:
    whole = segment(slide, tmp_path / "whole.nucleus", Decoder()).table()
    result = segment(
        slide, tmp_path / "parts.nucleus", tiled(Decoder(), tile), regions=REGIONS, device="cpu"
    )
    table = result.table()
    inside = [crossed(outline, whole) for outline in REGIONS.values()]
    assert (inside[0] & inside[1]).sum() > 3
    expected = whole.assign(region=np.select(inside, list(REGIONS), ""))
    columns = ["centroid_x", "centroid_y", "area_um2", "type", "region"]
    pd.testing.assert_frame_equal(
        table[columns].sort_values(columns, ignore_index=True),
        expected.loc[expected["region"] != "", columns].sort_values(columns, ignore_index=True),
    )
    assert table["label"].tolist() == list(range(1, len(table) + 1))
    assert set(np.unique(labels_of(result))) == {0, *table["label"]}
    options = json.loads((result.path / "run.json").read_text())["options"]
    assert options["region"] is None
    assert {k: [*map(tuple, v)] for k, v in options["regions"].items()} == REGIONS


def test_progress_goes_on_over_all_regions(slide: Slide, tmp_path: Path) -> None:
    steps = list(
        segment_steps(slide, tmp_path / "made.nucleus", tiled(Decoder(), 128), regions=REGIONS)
    )
    found = [step for step in steps if not step.joined]
    assert [step.done for step in found] == list(range(steps[0].total + 1))
    counts = [step.nuclei for step in found]
    assert counts == sorted(counts)
    assert steps[-1].nuclei == len(open_result(tmp_path / "made.nucleus").table())


def test_no_nucleus_twice_where_scales_differ(made: Tissue, slide: Slide, tmp_path: Path) -> None:
    """The pixels of two regions lie differently in a network of another µm/px."""
    half = [(0.0, 0.0), (251.3, 0.0), (251.3, 420.0), (0.0, 420.0)]
    rest = [(100.7, 0.0), (500.0, 0.0), (500.0, 420.0), (100.7, 420.0)]
    result = segment(
        slide, tmp_path / "parts.nucleus", Decoder(mpp=0.4), regions={"1": half, "2": rest}
    )
    assert result.run["counts"]["nuclei"] == pytest.approx(len(made.types), abs=1)
    assert np.mean(best_iou(made.labels, labels_of(result)) >= 0.85) >= 0.99


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"far": [(600, 0), (700, 0), (700, 50)]}, r"region far holds no pixel of made"),
        ({"line": [(0, 0), (50, 50)]}, "region line encloses nothing"),
        ({"flat": [(0, 0), (50, 50), (100, 100)]}, "region flat encloses nothing"),
        ({}, "no region to segment"),
    ],
)
def test_regions_that_cannot_be_segmented(
    slide: Slide, tmp_path: Path, regions: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        segment(slide, tmp_path / "made.nucleus", Decoder(), regions=regions)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not both"):
        segment(slide, tmp_path / "made.nucleus", Decoder(), region=(0, 0, 9, 9), regions=REGIONS)


def test_region_beyond_the_image_is_cut_or_refused(slide: Slide, tmp_path: Path) -> None:
    out = tmp_path / "made.nucleus"
    assert segment(slide, out, Decoder(), region=(400, 300, 1000, 1000)).shape == (420, 500)
    with pytest.raises(UserError, match="holds no pixel of made, which is 500 x 420 px"):
        segment(slide, out, Decoder(), region=(500, 0, 10, 10))


def test_progress_counts_tiles_and_nuclei(slide: Slide, tmp_path: Path) -> None:
    steps = list(segment_steps(slide, tmp_path / "made.nucleus", tiled(Decoder(), 128)))
    found = [step for step in steps if not step.joined]
    assert [step.done for step in found] == list(range(17))
    assert {step.total for step in steps} == {16}
    assert steps[0] == Progress(0, 16, 0)
    counts = [step.nuclei for step in found]
    assert counts == sorted(counts)
    assert {(step.tile.row, step.tile.column) for step in found if step.tile} == set(
        np.ndindex(4, 4)
    )
    assert steps[-1].joined == 1


@pytest.mark.parametrize("failing", [False, True], ids=["cancelled", "failed"])
def test_stopping_leaves_an_earlier_result(slide: Slide, tmp_path: Path, failing: bool) -> None:
    out = tmp_path / "made.nucleus"
    before = labels_of(segment(slide, out, Decoder()))
    steps = segment_steps(slide, out, tiled(Decoder(), 96), region=(0, 0, 300, 300))
    for _ in range(3):
        next(steps)
    if failing:
        with pytest.raises(ZeroDivisionError):
            steps.throw(ZeroDivisionError())
    else:
        steps.close()
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"made.nucleus", "made.nucleus.unfinished"}
    assert np.array_equal(labels_of(open_result(out)), before)


def test_blank_image_gives_an_empty_result(tmp_path: Path) -> None:
    blank = slide_from_arrays([np.full((200, 300, 3), (255, 128, 128), np.uint8)], 0.25)
    result = segment(blank, tmp_path / "blank.nucleus", Decoder())
    assert result.run["counts"] == {"nuclei": 0, "dark": 0, "pale": 0}
    assert result.table().empty
    assert not labels_of(result).any()


def test_nucleus_that_fills_its_box_is_kept(tmp_path: Path) -> None:
    """Where no background is left in what is written, none is to be assumed."""
    square = np.full((64, 64, 3), (255, 128, 128), np.uint8)
    ramp = np.rint(128 + 100 * np.linspace(-1, 1, 20)).astype(np.uint8)
    square[20:40, 20:40] = np.stack(
        np.broadcast_arrays(np.uint8(0), ramp[None, :], ramp[:, None]), axis=-1
    )
    result = segment(slide_from_arrays([square], 0.25), tmp_path / "square.nucleus", Decoder())
    assert result.table()["area_um2"].tolist() == [25]


def test_image_without_resolution_is_asked_for_it(made: Tissue, tmp_path: Path) -> None:
    unknown = slide_from_arrays([made.coded()], None, "unknown")
    with pytest.raises(UserError, match="The µm/px of unknown is unknown"):
        segment(unknown, tmp_path / "unknown.nucleus", Decoder())
    given = segment(unknown, tmp_path / "unknown.nucleus", Decoder(), mpp=0.25)
    assert given.mpp == 0.25


def test_resolution_that_is_given_counts_and_not_the_files(made: Tissue, tmp_path: Path) -> None:
    wrong = slide_from_arrays([made.coded()], 0.5)
    given = segment(wrong, tmp_path / "given.nucleus", Decoder(), mpp=0.25)
    assert given.mpp == 0.25
    assert given.table()["area_um2"].sum() == pytest.approx(0.25**2 * np.sum(made.labels > 0))


def test_run_says_where_the_result_comes_from(
    made: Tissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, weights = tmp_path / "made.png", tmp_path / "decoder.safetensors"
    Image.fromarray(made.coded()).save(file)
    monkeypatch.setitem(_BUILDERS, "decoder", lambda types, pretrained, mpp: Decoder(types, mpp))
    save_checkpoint(weights, Decoder())
    segment(file, tmp_path / "made.nucleus", weights, mpp=0.25, device="cpu")
    run = json.loads((tmp_path / "made.nucleus" / "run.json").read_text())
    assert run["source"]["path"] == str(file)
    assert (run["source"]["width"], run["source"]["height"], run["source"]["mpp"]) == (
        500,
        420,
        0.25,
    )
    assert run["model"]["name"] == "decoder"
    for part, source in (("source", file), ("model", weights)):
        assert run[part]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert run["options"]["instances"] == {"sobel_size": 9, "marker_threshold": 0.5}
    assert run["device"] == "cpu"
    assert run["seconds"]["total"] > 0


class SmallMemory(Decoder):
    """Has room for so many tiles, and counts how many it was asked to take at once."""

    room = 3

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def predict(self, images: torch.Tensor) -> list[dict[str, np.ndarray]]:
        self.asked.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().predict(images)


def test_batch_is_halved_when_memory_is_short(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = segment(slide, tmp_path / "one.nucleus", tiled(Decoder(), 64, 32))
    monkeypatch.setitem(on_this_machine._BATCH, "cpu", 8)
    network = tiled(SmallMemory(), 64, 32)
    result = segment(slide, tmp_path / "halved.nucleus", network)
    assert network.asked[:2] == [8, 4]
    assert set(network.asked[2:]) == {2}
    assert np.array_equal(labels_of(result), labels_of(expected))


def test_one_tile_too_large_for_the_memory_is_told(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallMemory, "room", 0)
    with pytest.raises(UserError, match="does not hold one tile"):
        segment(slide, tmp_path / "made.nucleus", SmallMemory())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["cuda:9", "abacus"])
def test_missing_device_is_told(slide: Slide, tmp_path: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"The device '{device}' cannot be used here"):
        segment(slide, tmp_path / "made.nucleus", Decoder(), device=device)
