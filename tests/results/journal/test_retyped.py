import json
from typing import Any

import numpy as np
import pytest

from napari_nucleus.results.journal.edit import Edit
from napari_nucleus.results.journal.retyped import Retyped


def change(count: int) -> Retyped:
    rng = np.random.default_rng(0)
    return Retyped(
        np.sort(rng.choice(10 * count, count, replace=False)).astype(np.int32),
        ("tumour", "größer"),
        rng.integers(0, 2, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint16),
        rng.random(count, np.float32),
        rng.random(count).astype(np.float16).astype(np.float32),
    )


def same(one: Retyped, other: Retyped) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_read_as_it_was_written(count: int) -> None:
    made = change(count)
    (line,) = Edit("classify", retyped=made).to_json()
    line = json.loads(json.dumps(line))
    read = Edit.from_json(line, None)
    assert read.retyped is not None
    assert same(read.retyped, made)
    assert same(read.inverse().inverse().retyped or made, made)


def test_a_hundred_thousand_nuclei_take_little() -> None:
    assert len(json.dumps(change(100_000).to_json())) < 1.5e6


def test_damage_is_found() -> None:
    stored = change(10).to_json()
    damages: list[dict[str, Any]] = [
        {"count": 11},
        {"data": stored["data"][:-10]},
        {"names": ["tumour"]},
    ]
    for damage in damages:
        with pytest.raises(ValueError, match=r"."):
            Retyped.from_json({**stored, **damage})
