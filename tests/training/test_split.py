from dataclasses import replace
from pathlib import Path

import pytest

from napari_nucleus.datasets import Source
from napari_nucleus.errors import UserError
from napari_nucleus.training.recipe import Recipe
from napari_nucleus.training.split import _spread, count_tiles, split, weights_by_index

RECIPE = Recipe(types=("dark", "pale"))


def test_every_fifth_image_is_kept_for_validation(data: Path) -> None:
    training, validation = split(RECIPE, [Source(data)])
    assert [sample.name for sample in training] == list("abcd")
    assert [sample.name for sample in validation] == ["e"]
    assert count_tiles(training, 96) == 4
    assert count_tiles(training, 40) == 4 * 9


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(1, 0.2, 0), (2, 0.2, 1), (4, 0.2, 1), (13, 0.2, 3), (10, 0.5, 5), (10, 0, 0)],
)
def test_some_images_are_kept_for_validation_and_some_are_not(
    count: int, share: float, kept: int
) -> None:
    chosen = _spread(count, share)
    assert len(chosen) == kept < count
    assert chosen <= set(range(count))


def test_recipe_says_which_images_are_kept(data: Path) -> None:
    training, validation = split(RECIPE, [Source(data, holdout=("[bd]",))])
    assert [sample.name for sample in training] == list("ace")
    assert [sample.name for sample in validation] == list("bd")


@pytest.mark.parametrize(
    ("holdout", "message"),
    [(("*",), "no annotated nucleus to train on"), (("none",), "is left for validation")],
)
def test_empty_parts_are_told(data: Path, holdout: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(RECIPE, [Source(data, holdout=holdout)])


def test_type_that_cannot_be_learned_is_told(data: Path) -> None:
    recipe = replace(RECIPE, types=("dark", "mitosis", "pale"))
    with pytest.raises(UserError, match="No nucleus to train on is of type mitosis: take it out"):
        split(recipe, [Source(data)])


def test_type_that_is_only_in_validation_is_told(data: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for file in (data / part).iterdir():
            (tmp_path / part / file.name).write_bytes(file.read_bytes())
    for name in "abcd":
        table = tmp_path / "labels" / f"{name}.csv"
        table.write_text(table.read_text().replace("pale", "dark"))
    with pytest.raises(UserError, match="is of type pale"):
        split(RECIPE, [Source(tmp_path)])


def test_weights_go_by_the_index_of_the_type() -> None:
    recipe = replace(RECIPE, type_weights={"pale": 3.0})
    assert weights_by_index(recipe) == {2: 3.0}
    with pytest.raises(UserError, match="'pal', which is not learned: did you mean 'pale'"):
        weights_by_index(replace(RECIPE, type_weights={"pal": 3.0}))
