from collections.abc import Callable
from pathlib import Path

import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.recipe import Recipe, load_recipe

Write = Callable[[str], Path]

SHIPPED = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        file = tmp_path / "recipe.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return written


def test_file_speaks_before_defaults_and_defaults_before_the_class(write: Write) -> None:
    recipe = load_recipe(write("steps = 7\ntypes = ['b', 'a']"), steps=9, mpp=0.5)
    assert recipe == Recipe(steps=7, types=("b", "a"), mpp=0.5)


def test_folder_is_read_as_the_recipe_says(write: Write) -> None:
    text = "[data.old]\nmpp = 'nuclei'\nholdout = ['x*']\nshare = 2"
    recipe = load_recipe(write(text))
    folder = recipe.folder(Path("/somewhere/old"))
    assert (folder.path, folder.mpp) == (Path("/somewhere/old"), "nuclei")
    assert (folder.holdout, folder.share) == (("x*",), 2)
    assert recipe.folder(Path("other")).mpp == 0.25


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 3", "has no key 'step': did you mean 'steps'"),
        ("steps = 0", "steps = 0: Input should be greater than 0"),
        ("steps = 'many'", "steps = 'many': Input should be a valid integer"),
        ("patch = 100", "patch = 100: Input should be a multiple of 32"),
        ("np_loss = 'l1'", "np_loss = 'l1': Input should be 'ce_dice' or 'asymmetric'"),
        ("types = ['a', 3]", "types.1 = 3"),
        ("steps = = 3", "cannot be read as a recipe"),
    ],
)
def test_mistakes_are_named(write: Write, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(write(text))


def test_mistakes_about_a_dataset_are_named(write: Write) -> None:
    recipe = load_recipe(write("[data.tnbc]\nholdouts = ['a']"))
    with pytest.raises(
        UserError, match=r"\[data.tnbc\] has no key 'holdouts': did you mean 'holdout'"
    ):
        recipe.folder(Path("tnbc"))


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as a recipe"):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_recipes_are_valid(file: Path) -> None:
    recipe = load_recipe(file)
    assert all(recipe.folder(Path(name)).share > 0 for name in recipe.data)
