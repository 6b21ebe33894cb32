"""The result depends on image, model and settings, and on nothing else."""

from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from skimage.data import immunohistochemistry

from napari_nucleus.errors import UserError
from napari_nucleus.inference import predict_image, segment, segment_steps
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.results import Result
from napari_nucleus.slides import Slide, slide_from_arrays
from napari_nucleus.weights.store import DEFAULT_MODEL
from tests.tissue import Decoder, Moody, tiled, tissue

HEIGHT, WIDTH = 500, 620


def moody() -> Moody:
    return tiled(Moody(mpp=0.4), 96, 32)


@pytest.fixture(scope="module")
def slide() -> Slide:
    return slide_from_arrays([tissue(HEIGHT, WIDTH, seed=5, density=0.01).coded()], 0.25, "made")


@pytest.fixture(scope="module")
def whole(slide: Slide, tmp_path_factory: pytest.TempPathFactory) -> Result:
    result = segment(slide, tmp_path_factory.mktemp("whole") / "made.nucleus", moody())
    assert result.run["counts"]["nuclei"] > 300
    return result


def labels_of(result: Result) -> np.ndarray:
    height, width = result.shape
    return result.read_labels(0, 0, width, height)


def assert_same(one: Result, other: Result) -> None:
    assert np.array_equal(labels_of(one), labels_of(other))
    pd.testing.assert_frame_equal(one.table(), other.table(), check_exact=True)


def test_order_of_tiles_does_not_matter(slide: Slide, whole: Result, tmp_path: Path) -> None:
    orders = []
    for name, view in {"end": (WIDTH, HEIGHT), "middle": (WIDTH / 2, HEIGHT / 2)}.items():
        steps = segment_steps(
            slide, tmp_path / f"{name}.nucleus", moody(), view=repeat(view).__next__
        )
        order = []
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                assert_same(whole, end.value)
                break
            if step.tile:
                order.append((step.tile.row, step.tile.column))
        orders.append(order)
    # two tiles may be finished in another order than they were begun
    assert max(orders[0]) in orders[0][:3]
    assert (2, 2) in orders[1][:3]


def test_table_describes_the_labels_at_seams(whole: Result) -> None:
    labels, table = labels_of(whole), whole.table()
    assert table["label"].tolist() == list(range(1, len(table) + 1))
    area = np.bincount(labels.ravel(), minlength=len(table) + 1)[1:]
    np.testing.assert_allclose(table["area_um2"], area / 16, rtol=1e-6)
    boxes = table[["x0", "y0", "x1", "y1"]].to_numpy()
    centres = table[["centroid_x", "centroid_y"]].to_numpy()
    for number, ((x0, y0, x1, y1), centre) in enumerate(zip(boxes, centres, strict=True), 1):
        box = labels[y0:y1, x0:x1] == number
        assert box.sum() == area[number - 1]
        assert box[[0, -1]].any(1).all()
        assert box[:, [0, -1]].any(0).all()
        y, x = np.nonzero(box)
        assert centre.tolist() == pytest.approx([x.mean() + x0, y.mean() + y0])


@pytest.mark.parametrize("region", [(150, 130, 260, 210), (0, 0, 155, 160), (400, 333, 300, 200)])
def test_region_is_the_same_part_of_the_whole(
    slide: Slide, whole: Result, tmp_path: Path, region: tuple[int, int, int, int]
) -> None:
    part = segment(slide, tmp_path / "part.nucleus", moody(), region=region)
    x, y, width, height = region
    table = whole.table()
    inside = table["centroid_x"].between(x - 0.5, x + width - 0.5, inclusive="left")
    inside &= table["centroid_y"].between(y - 0.5, y + height - 0.5, inclusive="left")
    expected = table[inside]
    assert len(expected) > 10
    pd.testing.assert_frame_equal(
        part.table().drop(columns="label"),
        expected.drop(columns="label").reset_index(drop=True),
        check_exact=True,
    )
    numbers = np.zeros(len(table) + 1, int)
    numbers[expected["label"]] = np.arange(1, len(expected) + 1)
    assert np.array_equal(labels_of(part), numbers[labels_of(whole)])


def test_own_nuclei_of_a_tile_are_centred_in_it(slide: Slide, tmp_path: Path) -> None:
    network, (x, y, width, height) = tiled(Decoder(), 96, 32), (150, 130, 260, 210)
    steps = segment_steps(slide, tmp_path / "made.nucleus", network, region=(x, y, width, height))
    counted = 0
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            found = len(end.value.table())
            break
        if step.tile is not None and step.own is not None:
            rows = step.tile.table.index[step.own]
            centres = step.tile.table.loc[rows, ["centroid_y", "centroid_x"]].to_numpy()
            assert (np.floor((centres + 0.5) / 96) == (step.tile.row, step.tile.column)).all()
            assert (centres >= (y - 0.5, x - 0.5)).all()
            assert (centres < (y + height - 0.5, x + width - 0.5)).all()
            counted += len(centres)
            assert step.nuclei == counted
    assert counted == pytest.approx(found, abs=5)  # two tiles may disagree on some


def test_stopped_run_goes_on(slide: Slide, whole: Result, tmp_path: Path) -> None:
    out = tmp_path / "made.nucleus"
    asked = []

    class Counting(Moody):
        def predict(self, images: torch.Tensor) -> list[dict[str, np.ndarray]]:
            asked.append(len(images))
            return super().predict(images)

    network = tiled(Counting(mpp=0.4), 96, 32)
    steps = segment_steps(slide, out, network)
    while next(steps).done < 5:
        pass
    steps.close()
    done = len(list(tmp_path.glob("*.unfinished/*.npz")))
    assert 5 <= done < 20
    asked.clear()
    steps = segment_steps(slide, out, network)
    stored = [next(steps).tile for _ in range(done + 1)]
    assert sum(tile is not None for tile in stored) == done
    assert not asked
    steps.close()
    assert_same(whole, segment(slide, out, network))
    assert len(asked) == 20 - done
    assert [path.name for path in tmp_path.iterdir()] == ["made.nucleus"]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_tile_is_made_again(
    slide: Slide, whole: Result, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "made.nucleus"
    steps = segment_steps(slide, out, moody())
    while next(steps).done < 20:
        pass
    steps.close()
    for file in tmp_path.glob("*.unfinished/1-*.npz"):
        data = file.read_bytes()
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        file.write_bytes({"cut": data[:middle], "changed": changed, "empty": b""}[damage])
    assert_same(whole, segment(slide, out, moody()))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"mpp": 0.26}, "µm/px"),
        ({"region": (0, 0, 400, 400)}, "region"),
        ({"model": tiled(Moody(mpp=0.4), 96, 32)}, "model"),
        ({"tissue": "all"}, "tissue"),
    ],
)
def test_other_settings_are_not_mixed(
    slide: Slide, tmp_path: Path, changed: dict, name: str
) -> None:
    out = tmp_path / "made.nucleus"
    steps = segment_steps(slide, out, moody())
    while next(steps).done < 2:
        pass
    steps.close()
    if "model" in changed:
        changed["model"].sha256 = "b" * 64
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=f"unfinished segmentation with another {name}: take"):
        segment(slide, out, **{"model": moody(), **changed})
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_tiles_without_tissue_are_left_out(slide: Slide, tmp_path: Path) -> None:
    """A mask that someone has drawn counts, and is recorded."""
    from napari_nucleus.slides.tissue import Tissue

    mask = np.zeros((50, 62), bool)
    mask[:, :20] = True
    result = segment(slide, tmp_path / "made.nucleus", moody(), tissue=Tissue(mask, (10, 10)))
    assert result.table()["centroid_x"].max() < 2 * 96 * 1.6 + 16 * 1.6
    assert result.run["tissue"] == pytest.approx(20 / 62, abs=1e-4)
    assert result.run["options"]["tissue"] == Tissue(mask, (10, 10)).digest()


@pytest.mark.slow
def test_default_model_sees_a_place_the_same_way(tmp_path: Path) -> None:
    """On tissue, at a µm/px at which it has four tiles."""
    tissue = slide_from_arrays([immunohistochemistry()], 0.8, "colon")
    whole = segment(tissue, tmp_path / "whole.nucleus", device="cpu")
    order = segment(
        tissue, tmp_path / "order.nucleus", device="cpu", view=repeat((512, 512)).__next__
    )
    assert_same(whole, order)
    part = segment(tissue, tmp_path / "part.nucleus", device="cpu", region=(260, 250, 200, 200))
    table = whole.table()
    inside = table["centroid_x"].between(259.5, 459.5, inclusive="left")
    inside &= table["centroid_y"].between(249.5, 449.5, inclusive="left")
    assert inside.sum() > 20
    pd.testing.assert_frame_equal(
        part.table().drop(columns="label"),
        table[inside].drop(columns="label").reset_index(drop=True),
        check_exact=True,
    )


@pytest.mark.slow
def test_number_of_threads_does_not_matter() -> None:
    """Where several threads share a convolution, it is rounded in another way."""
    network = tiled(load_checkpoint(DEFAULT_MODEL).eval(), 768, 0)
    image = np.tile(immunohistochemistry(), (2, 2, 1))[:768, :768]
    before = torch.get_num_threads()
    maps = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            maps.append(predict_image(image, network))
    finally:
        torch.set_num_threads(before)
    for name, values in maps[0].items():
        assert np.array_equal(values, maps[1][name])
        assert np.array_equal(values, maps[2][name])
