"""Types, parts and resolution of sources, and datasets that are learned together."""

from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.datasets import (
    COMMON_TYPES,
    FORMATS,
    Source,
    find_types,
    is_held_out,
    iter_source,
    load_source,
)
from napari_nucleus.datasets.formats.arrays import PANNUKE_TYPES
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import UNKNOWN
from tests.datasets.published import (
    conic,
    consep,
    cpm17,
    nuinsseg,
    pannuke,
    pixels,
    plain,
    tnbc,
)


def named(types: np.ndarray, names: tuple[str, ...]) -> list[str | None]:
    """Names of the types of nuclei 1 to N."""
    return [None if kind == UNKNOWN else names[kind - 1] for kind in types[1:]]


def test_sets_with_different_classes_are_learned_together(tmp_path: Path) -> None:
    """What a set does not tell is unknown, and masked in the loss."""
    for make in (consep, pannuke, conic, tnbc, nuinsseg):
        make(tmp_path / make.__name__)
    samples = {
        path.name: load_source(Source(path), COMMON_TYPES, mpp=0.25)[0]
        for path in tmp_path.iterdir()
    }
    learned = {name: named(sample.types, COMMON_TYPES) for name, sample in samples.items()}
    assert learned == {
        "consep": ["miscellaneous", "malignant_epithelial", "spindle"],
        "pannuke": ["malignant_epithelial", "malignant_epithelial", "normal_epithelial"],
        "conic": ["inflammatory", None, "spindle"],
        "tnbc": [None] * 3,
        "nuinsseg": [None] * 3,
    }
    assert {sample.mpp for sample in samples.values()} == {0.25}
    assert samples["conic"].labels.shape == (48, 64)
    ignored = samples["nuinsseg"].ignored
    assert ignored is not None
    assert ignored.shape == samples["nuinsseg"].labels.shape
    assert [name for name, sample in samples.items() if sample.ignored is not None] == ["nuinsseg"]


def test_own_names_come_before_common_ones_and_the_recipe_s_before_both(tmp_path: Path) -> None:
    pannuke(tmp_path)
    source = Source(tmp_path, parts=("fold1",))
    own = load_source(source, PANNUKE_TYPES)[0]
    assert set(named(own.types, PANNUKE_TYPES)) == {"neoplastic", "epithelial"}
    types = ("epithelial", "malignant_epithelial", "normal_epithelial")
    mixed = load_source(source, types)[0]
    assert set(named(mixed.types, types)) == {"malignant_epithelial", "epithelial"}
    told = Source(tmp_path, parts=("fold1",), types={"neoplastic": "tumour"})
    renamed = load_source(told, ("tumour", "normal_epithelial"))[0]
    assert set(named(renamed.types, ("tumour", "normal_epithelial"))) == {
        "tumour",
        "normal_epithelial",
    }


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (
            {"neoplasic": "inflammatory"},
            r"\[data.made.types\]: the dataset has no class 'neoplasic': did you mean 'neoplastic'",
        ),
        ({"zzz": "spindle"}, "no class 'zzz': there are connective, dead, epithelial, inflam"),
        (
            {"dead": "miscelaneous"},
            "'miscelaneous' is not a type to be learned: did you mean",
        ),
    ],
)
def test_mistaken_classes_are_told(tmp_path: Path, types: dict[str, str], message: str) -> None:
    pannuke(tmp_path / "made")
    with pytest.raises(UserError, match=message):
        load_source(Source(tmp_path / "made", types=types), COMMON_TYPES)


def test_classes_of_a_set_without_any_are_told(tmp_path: Path) -> None:
    tnbc(tmp_path)
    with pytest.raises(UserError, match="no class 'tumour': there are none"):
        load_source(Source(tmp_path, types={"tumour": "spindle"}), COMMON_TYPES)


def test_classes_are_not_asked_for_where_only_segmentation_is_learned(tmp_path: Path) -> None:
    pannuke(tmp_path)
    source = Source(tmp_path, parts=("fold1",), types={"dead": "miscellaneous"})
    assert set(load_source(source)[0].types[1:]) == {UNKNOWN}


def test_types_of_one_set_are_its_own_and_of_several_the_common_ones(tmp_path: Path) -> None:
    sources = {}
    for make in (consep, pannuke, conic, tnbc, plain):
        make(tmp_path / make.__name__)
        sources[make.__name__] = Source(tmp_path / make.__name__)
    assert find_types([sources["pannuke"], sources["tnbc"]]) == tuple(sorted(PANNUKE_TYPES))
    assert find_types([sources["consep"], sources["pannuke"]]) == tuple(sorted(COMMON_TYPES))
    assert find_types([sources["conic"], sources["plain"]]) == (
        "dark",
        "inflammatory",
        "pale",
        "spindle",
    )
    renamed = Source(tmp_path / "plain", types={"pale": "inflammatory", "dark": "spindle"})
    assert find_types([sources["conic"], renamed]) == ("inflammatory", "spindle")
    assert find_types([sources["tnbc"]]) == ()


def test_parts_are_read_as_named(tmp_path: Path) -> None:
    pannuke(tmp_path)
    parts = [sample.part for sample in load_source(Source(tmp_path, parts=("fold3", "fold1")))]
    assert parts == ["fold1", "fold1", "fold3", "fold3"]
    with pytest.raises(UserError, match="has no part 'fold_1': did you mean 'fold1'"):
        load_source(Source(tmp_path, parts=("fold_1",)))


def test_part_that_is_not_there_is_told(tmp_path: Path) -> None:
    for truth in cpm17(tmp_path / "set"):
        if truth.part == "train":
            truth.file.unlink()
            (truth.file.parents[1] / "Images" / "image_00.png").unlink()
    with pytest.raises(UserError, match=r"of the parts train; it has the parts test"):
        load_source(Source(tmp_path / "set"))
    assert [s.name for s in load_source(Source(tmp_path / "set", parts=("test",)))] == ["image_00"]


def test_images_are_read_one_by_one(tmp_path: Path) -> None:
    truths = consep(tmp_path)
    samples = iter_source(Source(tmp_path, parts=("train", "test")))
    assert next(samples).part == "test"
    truths[0].file.unlink()  # of the training image, which was not read yet
    with pytest.raises(UserError, match=r"train_1\.mat is missing"):
        next(samples)


@pytest.mark.parametrize(
    ("holdout", "held"),
    [
        (("*Breast",), ["fold1_0000_Breast", "fold2_0000_Breast"]),
        (("fold2",), ["fold2_0000_Breast", "fold2_0001_Bile-duct"]),
        (("fold2_0001*", "nothing"), ["fold2_0001_Bile-duct"]),
        (("fold",), []),
    ],
)
def test_images_are_held_out_by_name_or_part(
    tmp_path: Path, holdout: tuple[str, ...], held: list[str]
) -> None:
    pannuke(tmp_path)
    source = Source(tmp_path, holdout=holdout)
    samples = load_source(source)
    assert [sample.name for sample in samples if is_held_out(source, sample)] == held


def test_resolution_is_the_source_s_before_the_format_s(tmp_path: Path) -> None:
    conic(tmp_path)
    given = [load_source(Source(tmp_path, mpp=mpp))[0].mpp for mpp in (None, 0.4, "nuclei")]
    assert given[:2] == [0.5, 0.4]
    assert given[2] == pytest.approx(7.5 / np.sqrt(56 * 4 / np.pi), rel=1e-6)


def test_ignored_areas_keep_their_place_at_another_resolution(tmp_path: Path) -> None:
    nuinsseg(tmp_path)
    (same, *_), (half, *_) = (load_source(Source(tmp_path, mpp=0.25), mpp=m) for m in (None, 0.125))
    assert same.ignored is not None
    assert half.ignored is not None
    assert np.array_equal(half.ignored, np.kron(same.ignored, np.ones((2, 2), bool)))
    assert np.array_equal(half.labels, np.kron(same.labels, np.ones((2, 2), int)))


@pytest.mark.parametrize("options", [{"labels": "labels_split"}, {"doubtful": "d.csv"}])
def test_options_of_plain_folders_are_theirs(tmp_path: Path, options: dict[str, str]) -> None:
    tnbc(tmp_path / "set")
    with pytest.raises(UserError, match=r"\[data.set\]: labels and doubtful are options"):
        load_source(Source(tmp_path / "set", **options))  # type: ignore[arg-type]


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consep(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    (sample,) = load_source(Source(Path("set")))
    assert sample.dataset == "set"
    assert np.array_equal(sample.image, pixels(0))


def test_common_types_are_the_only_ones_that_classes_are_mapped_to() -> None:
    for format in FORMATS.values():
        assert set(format.common) <= set(format.types)
        assert set(format.common.values()) <= set(COMMON_TYPES)
        assert set(format.training_parts) <= set(format.parts)
