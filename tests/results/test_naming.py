import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import Result, ResultWriter
from napari_nucleus.results.export import write_csv
from napari_nucleus.results.naming import (
    Destination,
    choose_destination,
    default_folder,
    finished_result,
    run_title,
)
from napari_nucleus.results.unfinished import Unfinished
from napari_nucleus.slides import Slide, open_slide, slide_from_arrays

MODEL = "ab" * 32
BOX = (1, 2, 30, 20)


def make_slide(file: Path, shade: int = 200) -> Slide:
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 50, 3), shade, np.uint8)).save(file)
    return open_slide(file, 0.25)


@pytest.fixture
def slide(tmp_path: Path) -> Slide:
    return make_slide(tmp_path / "slide.png")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def choose(out: Path, slide: Slide, model: str = MODEL, **options: Any) -> Destination:
    return choose_destination(out, slide, model, slide.mpp, options)


def write(place: Destination, slide: Slide, model: str = MODEL, **options: Any) -> Result:
    """What `segment` leaves, without nuclei."""
    run = {
        "source": {"path": slide.path and str(slide.path), "sha256": slide.digest()},
        "model": {"name": "tiny", "sha256": model, "mpp": 0.5, "types": ["a"]},
        "options": {"region": None, "regions": None, "tile": 640, **options},
        "device": "cpu",
    }
    with ResultWriter(place.result, slide.shape, slide.mpp, {"a": "#ff0000"}, run) as writer:
        result = writer.finish(seconds={"total": 1.0})
    write_csv(result, place.csv)
    return result


def names(place: Destination) -> tuple[str, str]:
    return place.result.name, place.csv.name


def test_named_after_the_image(slide: Slide, out: Path) -> None:
    assert choose(out, slide) == Destination(out / "slide.nucleus", out / "slide.csv", "")


@pytest.mark.parametrize(
    "options",
    [{}, {"region": BOX}, {"regions": {"one": [(1, 2), (9, 2), (5, 30)], "two": [(0, 0)] * 3}}],
)
def test_the_same_again_is_replaced(slide: Slide, out: Path, options: dict) -> None:
    write(choose(out, slide, **options), slide, **options)
    again = choose(out, slide, **options)
    assert names(again) == ("slide.nucleus", "slide.csv")
    assert again.reason == "replaces the same segmentation"


@pytest.mark.parametrize(
    ("model", "mpp", "options", "reason"),
    [
        ("cd" * 32, 0.25, {}, "is of another model"),
        ("", 0.25, {}, "is of another model"),
        (MODEL, 0.5, {}, "has another µm/px"),
        (MODEL, 0.25, {"region": BOX}, "is of another region (whole image)"),
        (MODEL, 0.25, {"regions": {"one": [(1, 2), (9, 2), (5, 30)]}}, "is of another region"),
    ],
)
def test_another_run_stands_beside(
    slide: Slide, out: Path, model: str, mpp: float, options: dict, reason: str
) -> None:
    write(choose(out, slide), slide)
    place = choose_destination(out, slide, model, mpp, options)
    assert names(place) == ("slide-2.nucleus", "slide-2.csv")
    assert place.reason.startswith(f"slide.nucleus {reason}")


def test_runs_of_one_image_are_each_replaced_by_themselves(slide: Slide, out: Path) -> None:
    for region in (None, BOX, (0, 0, 9, 9)):
        write(choose(out, slide, region=region), slide, region=region)
    assert choose(out, slide, region=BOX).result.name == "slide-2.nucleus"
    assert choose(out, slide, region=(0, 0, 9, 9)).result.name == "slide-3.nucleus"
    assert choose(out, slide).result.name == "slide.nucleus"


def test_another_image_of_the_same_stem(slide: Slide, out: Path, tmp_path: Path) -> None:
    write(choose(out, slide), slide)
    for twin in (make_slide(tmp_path / "b" / "slide.png", 90), make_slide(tmp_path / "slide.tif")):
        place = choose(out, twin)
        assert names(place) == ("slide-2.nucleus", "slide-2.csv")
        assert place.reason == "slide.nucleus is of another image"


def test_a_copy_of_the_image_stands_beside(slide: Slide, out: Path, tmp_path: Path) -> None:
    write(choose(out, slide), slide)
    copy = make_slide(tmp_path / "b" / "slide.png")
    assert copy.digest() == slide.digest()
    assert choose(out, copy).reason == "slide.nucleus is of a copy of the image"


def test_another_image_in_the_same_file(slide: Slide, out: Path, tmp_path: Path) -> None:
    write(choose(out, slide), slide)
    changed = make_slide(tmp_path / "slide.png", 90)
    assert choose(out, changed).reason == "slide.nucleus is of another image"


def test_the_same_again_in_a_copy_of_the_project(tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "one" / "slide.png")
    write(choose(tmp_path / "one" / "out", slide), slide)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copy = open_slide(tmp_path / "two" / "slide.png", 0.25)
    assert choose(tmp_path / "two" / "out", copy).reason == "replaces the same segmentation"


def test_the_same_image_after_its_move(slide: Slide, out: Path, tmp_path: Path) -> None:
    write(choose(out, slide), slide)
    assert slide.path is not None
    moved = open_slide(slide.path.rename(tmp_path / "b.png"), 0.25)
    assert choose(out, moved).result.name == "b.nucleus"
    (tmp_path / "c").mkdir()
    moved = open_slide((tmp_path / "b.png").rename(tmp_path / "c" / "slide.png"), 0.25)
    assert choose(out, moved).reason == "replaces the same segmentation"


def test_corrections_stay(slide: Slide, out: Path) -> None:
    result = write(choose(out, slide), slide)
    (result.path / "edits.jsonl").write_text('{"n": 1, "edit": "mark"}\n')
    assert choose(out, slide).reason == "slide.nucleus has corrections"


def test_what_is_being_corrected_stays(slide: Slide, out: Path) -> None:
    result = write(choose(out, slide), slide)
    with EditSession(result.path, slide):
        assert choose(out, slide).reason == "slide.nucleus is open for correction"
    assert choose(out, slide).reason == "replaces the same segmentation"


def test_what_is_no_result_stays(slide: Slide, out: Path) -> None:
    (out / "slide.nucleus").mkdir(parents=True)
    (out / "slide-2.nucleus").write_text("a file")
    (out / "slide-3.nucleus").symlink_to(out / "nowhere")
    place = choose(out, slide)
    assert place.result.name == "slide-4.nucleus"
    assert place.reason == "slide.nucleus cannot be read"


def test_a_table_of_somebody_elses_stays(slide: Slide, out: Path) -> None:
    out.mkdir()
    (out / "slide.csv").write_text("patient,stage\n17,II\n")
    place = choose(out, slide)
    assert names(place) == ("slide-2.nucleus", "slide-2.csv")
    assert place.reason == "slide.csv is there already"


def test_a_table_that_was_changed_stays(slide: Slide, out: Path) -> None:
    place = choose(out, slide)
    write(place, slide)
    with place.csv.open("a") as file:
        file.write("my,notes\n")
    assert names(choose(out, slide)) == ("slide-2.nucleus", "slide-2.csv")
    place.csv.unlink()
    assert names(choose(out, slide)) == ("slide.nucleus", "slide.csv")


def test_beside_the_image_or_in_documents(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_documents_path", lambda: tmp_path / "documents")
    assert default_folder(slide) == tmp_path
    layer = slide_from_arrays([np.zeros((9, 9, 3), np.uint8)], 0.25)
    assert default_folder(layer) == tmp_path / "documents" / "napari-nucleus"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert default_folder(slide) == tmp_path / "documents" / "napari-nucleus"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("../a/b [1]: µ", ".._a_b [1]_ µ"),
        ("肿瘤 (2)", "肿瘤 (2)"),
        ('a<b>c"d|e?f*g\\h\n', "a_b_c_d_e_f_g_h_"),
        ("M\udcfcller", "M_ller"),
        ("NUL", "NUL_"),
        ("com1.2", "com1.2_"),
        ("x" * 300, "x" * 220),
        ("肿" * 100, "肿" * 73),
        ("", "image"),
    ],
)
def test_any_name_makes_a_folder(out: Path, name: str, stem: str) -> None:
    slide = slide_from_arrays([np.zeros((9, 9, 3), np.uint8)], 0.25, name)
    assert choose(out, slide).result == out / f"{stem}.nucleus"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"region": None, "regions": None}, "whole image"),
        ({"region": [10, 20, 300, 200]}, "300 × 200 px at 10, 20"),
        ({"regions": {"region 2": []}}, "region 2"),
        ({"regions": {"tumour": [], "stroma": []}}, "tumour, stroma"),
        ({"regions": {"a": [], "b": [], "c": []}}, "3 regions"),
    ],
)
def test_title_of_a_run(slide: Slide, out: Path, options: dict, where: str) -> None:
    result = write(choose(out, slide), slide, **options)
    now = datetime.now(UTC).replace(microsecond=0)
    result.run["started"] = now.isoformat()
    assert run_title(result.run) == f"{where} · tiny · {now.astimezone():%H:%M}"
    before = now - timedelta(days=3)
    result.run["started"] = before.isoformat()
    assert run_title(result.run) == f"{where} · tiny · {before.astimezone():%Y-%m-%d %H:%M}"


def test_an_earlier_result_that_was_moved_away_counts(slide: Slide, out: Path) -> None:
    """As by a run that was killed while it replaced it."""
    result = write(choose(out, slide), slide)
    result.path.rename(out / "slide.nucleus.0123abcd.old")
    assert choose(out, slide, region=BOX).result.name == "slide-2.nucleus"
    assert json.loads((out / "slide.nucleus" / "run.json").read_text()) == result.run


def begin(result: Path, slide: Slide, tiles: int = 1, **changed: Any) -> None:
    """What a run leaves that was stopped."""
    settings = {"sha256": slide.digest(), "mpp": slide.mpp, "model": MODEL}
    settings |= {"region": None, "regions": None, "tissue": None}
    store = Unfinished(result, {**settings, "version": version("napari-nucleus"), **changed}, 9)
    for number in range(tiles):
        store.write(f"0-{number}.npz", b"nuclei")


def test_unfinished_run_goes_on_wherever_it_is(slide: Slide, out: Path, tmp_path: Path) -> None:
    """Before another place is taken, also one that only has to be overwritten."""
    twin = make_slide(tmp_path / "b" / "slide.png", 90)
    begin(out / "slide.nucleus", twin)
    begin(out / "slide-2.nucleus", slide, model="cd" * 32)
    begin(out / "slide-3.nucleus", slide)
    for resume in (True, False):
        place = choose_destination(out, slide, MODEL, slide.mpp, {}, resume)
        assert names(place) == ("slide-3.nucleus", "slide-3.csv")
        assert place.reason == "slide.nucleus is unfinished, with another image"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"model": "cd" * 32}, "model"),
        ({"mpp": 0.5}, "µm/px"),
        ({"region": BOX}, "region"),
        ({"tissue": "all", "version": "0.0.1"}, "tissue, version of napari-nucleus"),
    ],
)
def test_only_the_same_is_resumed(slide: Slide, out: Path, changed: dict, name: str) -> None:
    begin(out / "slide.nucleus", slide, **changed)
    with pytest.raises(UserError, match=f"slide.nucleus.unfinished was begun with another {name}:"):
        choose_destination(out, slide, MODEL, slide.mpp, {}, resume=True)
    place = choose_destination(out, slide, MODEL, slide.mpp, {})
    assert place.result.name == "slide-2.nucleus"
    assert place.reason == f"slide.nucleus is unfinished, with another {name}"


def test_run_that_was_killed_before_its_first_tile_does_not_count(slide: Slide, out: Path) -> None:
    (out / "slide.nucleus.unfinished").mkdir(parents=True)
    assert choose(out, slide).result.name == "slide.nucleus"


def test_tiles_of_unknown_settings_are_not_trusted(slide: Slide, out: Path) -> None:
    begin(out / "slide.nucleus", slide)
    settings = out / "slide.nucleus.unfinished" / "settings.json"
    for damage in (lambda: settings.write_text("{"), settings.unlink):
        damage()
        assert choose(out, slide).result.name == "slide-2.nucleus"


def test_tiles_of_a_finished_result_are_removed(slide: Slide, out: Path) -> None:
    """They are left by a run that was killed at its very end; not those of another model."""
    write(choose(out, slide), slide)
    for changed, left in (({"model": "cd" * 32}, True), ({}, False)):
        shutil.rmtree(out / "slide.nucleus.unfinished", ignore_errors=True)
        begin(out / "slide.nucleus", slide, 3, **changed)
        result = finished_result(out, slide, MODEL, slide.mpp, {})
        assert result is not None
        assert (out / "slide.nucleus.unfinished").exists() == left
