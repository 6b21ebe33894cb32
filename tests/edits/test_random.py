"""Two hundred corrections at random, taken back and made again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.edits import annotations, operations
from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from tests.edits.folder import Snapshot, check_same, open_session, snapshot, squares, write_result

HEIGHT, WIDTH = 93, 122
STEPS = 200


class Hand:
    """Makes corrections that a person might, and some that are refused."""

    def __init__(self, session: EditSession, seed: int) -> None:
        self.session = session
        self.rng = np.random.default_rng(seed)
        changes = (self.split, self.merge, self.delete, self.add, self.paint, self.classify)
        self.changes = [*changes * 4, self.new_type, self.rename, self.remove_type]
        self.changes += [self.regions, self.accept, self.retype]

    def act(self) -> bool:
        """Try one correction; return whether something changed."""
        news: list[object] = []
        self.session.changed = [news.append]
        change: Callable[[], object] = self.changes[self.rng.integers(len(self.changes))]
        try:
            change()
        except UserError:
            assert not news
        return bool(news)

    def some(self, most: int) -> list[int]:
        labels = self.session.table()["label"].to_numpy()
        return self.rng.choice(labels, self.rng.integers(1, most + 1)).tolist()

    def type_name(self) -> str:
        return str(self.rng.choice(list(self.session.types)))

    def point(self) -> tuple[int, int]:
        return int(self.rng.integers(-5, WIDTH + 5)), int(self.rng.integers(-5, HEIGHT + 5))

    def split(self) -> None:
        self.session.apply(operations.split, [self.point(), self.point(), self.point()])

    def merge(self) -> None:
        near = self.session.rows(self.some(1)).iloc[0]
        x, y = near["centroid_x"], near["centroid_y"]
        self.session.apply(
            operations.merge, self.session.canvas.along([(x, y), (x + 12, y), (x + 12, y + 12)])
        )

    def delete(self) -> None:
        self.session.apply(operations.delete, self.some(2))

    def add(self) -> None:
        height, width = self.rng.integers(2, 20, 2)
        mask = self.rng.random((height, width)) < 0.8
        self.session.apply(operations.add, mask, *self.point(), self.type_name())

    def paint(self) -> None:
        x, y = self.rng.integers(0, (WIDTH - 20, HEIGHT - 20)).tolist()
        labels = self.session.read_labels(x, y, 20, 20)
        height, width = self.rng.integers(1, 12, 2)
        labels[3 : 3 + height, 4 : 4 + width] = self.rng.choice([0, labels.max(), 999])
        self.session.apply(operations.paint, x, y, labels, self.type_name())

    def classify(self) -> None:
        self.session.apply(operations.reclassify, self.some(9), self.type_name())

    def retype(self) -> None:
        labels = self.session.table()["label"].to_numpy()
        names = self.rng.choice(["mitosis", self.type_name()], len(labels)).astype(object)
        colors = dict.fromkeys(names.tolist(), "#123456")
        prob = self.rng.random(len(labels))
        self.session.apply(operations.retype, labels, names, prob, colors)

    def remove_type(self) -> None:
        self.session.apply(annotations.remove_type, self.type_name())

    def rename(self) -> None:
        self.session.apply(
            annotations.rename_type, self.type_name(), f"type {self.rng.integers(1000)}"
        )

    def new_type(self) -> None:
        self.session.apply(annotations.add_type, f"type {self.rng.integers(1000)}")

    def regions(self) -> None:
        self.session.apply(annotations.mark_reviewed, (*self.point(), *self.point()))

    def accept(self) -> None:
        self.session.apply(operations.accept, self.some(3))


def reopened(path: Path, cut: int = 0) -> Snapshot:
    """Return what a copy of the folder holds, without the last bytes of its journal."""
    copy = path.with_name("copy.nucleus")
    shutil.copytree(path, copy)
    journal = copy / "edits.jsonl"
    data = journal.read_bytes()
    journal.write_bytes(data[: len(data) - cut])
    with open_session(copy) as session:
        now = snapshot(session)
    shutil.rmtree(copy)
    return now


@pytest.mark.slow
def test_a_long_day(tmp_path: Path) -> None:
    path = write_result(tmp_path / "slide.nucleus", squares(HEIGHT, WIDTH)).path
    session = open_session(path)
    hand = Hand(session, seed=0)
    start = snapshot(session)
    done: list[Snapshot] = [start]
    while len(done) <= STEPS:
        if not hand.act():
            continue
        done.append(snapshot(session))
        now, before = done[-1], done[-2]
        if len(done) % 25 == 0:
            check_same(reopened(path), now)
        if len(done) % 40 == 0:  # a line has more than 20 bytes
            check_same(reopened(path, cut=20)._replace(redo=""), before)
        if len(done) % 60 == 0:
            session.save()
        if len(done) % 70 == 0:
            session.close()
            session = hand.session = open_session(path)

    for earlier in reversed(done[:-1]):
        session.undo()
        check_same(snapshot(session)._replace(redo=""), earlier)
    assert not session.can_undo
    check_same(reopened(path)._replace(redo=""), start)
    session.close()
    session = open_session(path)
    for later in done[1:]:
        session.redo()
        check_same(snapshot(session)._replace(redo=""), later)
    assert not session.can_redo
    session.close()
    check_same(reopened(path), done[-1])
