from pathlib import Path

import pytest

from napari_nucleus.results.journal.edit import Change, Edit
from napari_nucleus.results.journal.journal import Journal
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.results.journal.state import State
from tests.edits.folder import TYPES, squares, write_result

FIRST, SECOND = (0, 0, 40, 30), (50, 10, 80, 48)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_result(tmp_path / "slide.nucleus", squares(48, 80)).path


def test_regions_come_and_go_with_the_journal(path: Path) -> None:
    assert reviewed_regions(path) == []
    journal = Journal(path)
    journal.append(Edit("mark", reviewed=Change([], [FIRST])).to_json(), 1)
    journal.append(Edit("mark", reviewed=Change([FIRST], [FIRST, SECOND])).to_json(), 2)
    assert reviewed_regions(path) == [FIRST, SECOND]
    journal.append([{"undo": 2}], 3)
    assert reviewed_regions(path) == [FIRST]
    journal.append([{"redo": 2}], 4)
    assert reviewed_regions(path) == [FIRST, SECOND]


def test_regions_are_saved_with_the_table(path: Path) -> None:
    journal = Journal(path)
    journal.append(Edit("mark", reviewed=Change([], [FIRST])).to_json(), 1)
    State.replay(path, TYPES).save(1)
    assert reviewed_regions(path) == [FIRST]
    journal.append([{"undo": 1}], 2)
    assert reviewed_regions(path) == []
