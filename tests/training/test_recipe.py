from collections.abc import Callable
from pathlib import Path

import pytest

from napari_nucleus.errors import UserError
from napari_nucleus.training.recipe import Phase, Recipe, load_recipe

Write = Callable[[str], Path]

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        file = tmp_path / "recipe.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return written


def test_file_speaks_before_defaults_and_defaults_before_the_class(write: Write) -> None:
    recipe = load_recipe(write("patch = 7\ntypes = ['b', 'a']"), patch=9, mpp=0.5)
    assert recipe == Recipe(patch=7, types=("b", "a"), mpp=0.5)


def test_phases_follow_each_other(write: Write) -> None:
    text = "[[phases]]\nbatch = 64\ntrain = 'decoder'\nviews = 4\n[[phases]]\nbatch = 16\nlr = 1e-4"
    first, second = load_recipe(write(text)).phases
    assert first == Phase(batch=64, train="decoder", views=4)
    assert second == Phase(batch=16, lr=1e-4)


def test_folder_is_read_as_the_recipe_says(write: Write) -> None:
    text = "[data.old]\nmpp = 'nuclei'\nholdout = ['x*']\nshare = 2"
    recipe = load_recipe(write(text))
    source = recipe.source(Path("/somewhere/old"))
    assert (source.path, source.mpp) == (Path("/somewhere/old"), "nuclei")
    assert (source.holdout, source.share) == (("x*",), 2)
    assert recipe.source(Path("other")).share == 1


def test_recipe_says_what_differs_from_another(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "base.toml").write_text(
        "patch = 64\nseed = 1\n[data.a]\nshare = 2\nholdout = ['x']\n[[phases]]\nbatch = 64\n"
        "[[phases]]\nbatch = 16"
    )
    (tmp_path / "middle.toml").write_text("extends = 'papers/base.toml'\nseed = 2\nmpp = 0.5")
    file = tmp_path / "top.toml"
    file.write_text("extends = 'middle.toml'\nseed = 3\n[data.a]\nshare = 5\n[[phases]]\nbatch = 1")
    assert load_recipe(file) == Recipe(
        patch=64,
        mpp=0.5,
        seed=3,
        phases=(Phase(batch=1),),
        data={"a": {"share": 5, "holdout": ["x"]}},
    )


def test_recipe_that_extends_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("extends = 'two.toml'")
    (tmp_path / "two.toml").write_text("extends = 'one.toml'")
    with pytest.raises(UserError, match=r"two\.toml extends one\.toml, which extends it again"):
        load_recipe(tmp_path / "one.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path = 3", "has no key 'path': did you mean 'patch'"),
        ("extend = 'a.toml'", "has no key 'extend': did you mean 'extends'"),
        ("extends = 'a.toml'", "a.toml cannot be read as a recipe"),
        ("extends = 3", "extends = 3: give the name of another recipe's file"),
        ("patch = 0", "patch = 0: Input should be greater than 0"),
        ("patch = 'many'", "patch = 'many': Input should be a valid integer"),
        ("np_loss = 'l1'", "np_loss = 'l1': Input should be 'dice', 'ce_dice', 'focal_dice'"),
        ("augment = 'all'", "augment = 'all': Input should be 'none', 'basic'"),
        ("types = ['a', 3]", "types.1 = 3"),
        ("patch = = 3", "cannot be read as a recipe"),
        ("mpp = 250", r"250 µm/px is not a plausible pixel size"),
        ("[data.tnbc]\nmpp = 250", r"250 µm/px is not a plausible pixel size"),
        ("phases = []", "phases = \\[\\]: Tuple should have at least 1 item"),
        ("[[phases]]\nepoch = 3", "phases.0 has no key 'epoch': did you mean 'epochs'"),
        ("[[phases]]\n[[phases]]\nlr = -1", "phases.1.lr = -1: Input should be greater than 0"),
        ("[type_weights]\na = 0", "type_weights.a = 0: Input should be greater than 0"),
        (
            "[data.tnbc]\nholdouts = ['a']",
            "data.tnbc] has no key 'holdouts': did you mean 'holdout'",
        ),
    ],
)
def test_mistakes_are_named(write: Write, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(write(text))


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as a recipe"):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_recipes_are_valid(file: Path) -> None:
    recipe = load_recipe(file)
    assert all(recipe.source(Path(name)).share > 0 for name in recipe.data)
