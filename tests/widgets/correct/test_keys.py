"""Keys are what the user is told."""

import re
from pathlib import Path

from napari_nucleus.widgets.correct.keys import KEYS

README = Path(__file__).parents[3] / "README.md"


def test_readme_lists_all_keys() -> None:
    """In the words of the widget, in its order."""
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", README.read_text(encoding="utf-8"), re.M)
    keys = [(key.shown, key.does) for group in KEYS.values() for key in group]
    start = rows.index(keys[0])
    assert rows[start : start + len(keys)] == keys


def test_no_key_has_two_meanings() -> None:
    keys = [key for group in KEYS.values() for one in group for key in one.keys]
    assert len(keys) == len(set(keys)) > 20
