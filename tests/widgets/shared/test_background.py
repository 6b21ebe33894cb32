"""Jobs in a thread, told what to do by their token; every order of events is forced, none timed."""

from collections.abc import Callable, Generator
from threading import Event
from typing import Any

import pytest
import torch
from pytestqt.qtbot import QtBot

from napari_nucleus.widgets.shared.background import (
    Cancelled,
    CancelToken,
    Failure,
    Job,
    cancellable,
    in_background,
    start_job,
)

WAIT = 60_000


class Counter:
    """Counts to three, one number at a time, each when it is let."""

    def __init__(self, commit: bool = True) -> None:
        self.commit = commit
        self.started, self.closed = Event(), Event()
        self.let = [Event() for _ in range(3)]

    def steps(self, token: CancelToken) -> Generator[int, None, str]:
        if self.commit:
            token.commit()
        return (yield from cancellable(self._count(), token))

    def _count(self) -> Generator[int, None, str]:
        try:
            self.started.set()
            for number, let in enumerate(self.let):
                let.wait()
                yield number
            return "counted"
        finally:
            self.closed.set()


@pytest.fixture
def seen() -> list[Any]:
    """Progress and outcome of a job, as they came."""
    return []


def start(counter: Counter, seen: list[Any]) -> Job:
    return start_job(counter.steps, seen.append, seen.append)


def let_all(counter: Counter) -> None:
    for let in counter.let:
        let.set()


def test_job_reports_its_progress_and_its_value(qtbot: QtBot, seen: list[Any]) -> None:
    counter = Counter()
    job = start(counter, seen)
    with qtbot.waitSignal(job.finished, timeout=WAIT):
        let_all(counter)
    qtbot.waitUntil(lambda: len(seen) == 4, timeout=WAIT)
    assert seen == [0, 1, 2, "counted"]


def test_cancelled_job_closes_its_steps_and_says_so(qtbot: QtBot, seen: list[Any]) -> None:
    counter = Counter()
    job = start(counter, seen)
    counter.let[0].set()
    qtbot.waitUntil(lambda: seen == [0], timeout=WAIT)
    assert job.cancel()
    let_all(counter)
    qtbot.waitUntil(lambda: isinstance(seen[-1], Failure), timeout=WAIT)
    assert isinstance(seen[-1].error, Cancelled)
    assert counter.closed.is_set()
    assert "counted" not in seen


def test_job_that_has_only_read_is_not_awaited(qtbot: QtBot, seen: list[Any]) -> None:
    counter = Counter(commit=False)
    job = start(counter, seen)
    assert counter.started.wait(60)
    assert not job.cancel()
    with qtbot.waitSignal(job.finished, timeout=WAIT):
        let_all(counter)
    assert counter.closed.is_set()
    qtbot.wait(50)
    assert seen == []


def test_cancelling_leaves_the_networks_of_other_threads_alone(
    qtbot: QtBot, seen: list[Any]
) -> None:
    counter = Counter()
    job = start(counter, seen)
    assert counter.started.wait(60)
    job.cancel()
    assert torch.nn.Identity()(torch.ones(1)) == 1
    with qtbot.waitSignal(job.finished, timeout=WAIT):
        let_all(counter)


def test_paused_job_takes_no_step_until_it_continues(qtbot: QtBot, seen: list[Any]) -> None:
    counter = Counter()
    job = start(counter, seen)
    job.token.pause()
    let_all(counter)
    qtbot.waitUntil(lambda: seen == [0], timeout=WAIT)
    qtbot.wait(100)
    assert seen == [0]
    job.token.resume()
    qtbot.waitUntil(lambda: seen == [0, 1, 2, "counted"], timeout=WAIT)


def test_cancelling_ends_a_pause(qtbot: QtBot, seen: list[Any]) -> None:
    counter = Counter()
    job = start(counter, seen)
    job.token.pause()
    let_all(counter)
    qtbot.waitUntil(lambda: seen == [0], timeout=WAIT)
    assert job.cancel()
    qtbot.waitUntil(lambda: isinstance(seen[-1], Failure), timeout=WAIT)
    assert len(seen) == 2


def test_closing_the_window_cancels(qtbot: QtBot, seen: list[Any]) -> None:
    """napari asks its workers to quit."""
    counter = Counter()
    job = start(counter, seen)
    assert counter.started.wait(60)
    job.quit()
    with qtbot.waitSignal(job.finished, timeout=WAIT):
        let_all(counter)
    assert counter.closed.is_set()
    assert "counted" not in seen


def predict(token: CancelToken, layers: list[Callable[[], object]]) -> list[int]:
    """Run a network whose layers do something; return which of them were run."""
    run: list[int] = []

    class Layer(torch.nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            run.append(self.number)
            layers[self.number]()
            return x

    def steps() -> Generator[int, None, None]:
        yield 0
        torch.nn.Sequential(*map(Layer, range(len(layers))))(torch.zeros(1))
        yield 1

    with pytest.raises(Cancelled):
        for _ in cancellable(steps(), token):
            pass
    return run


def test_cancelling_stops_before_the_next_layer() -> None:
    token = CancelToken()
    assert predict(token, [lambda: None, token.cancel, lambda: None]) == [0, 1]


def test_step_may_complete_within_the_grace() -> None:
    token = CancelToken(grace=3600)
    assert predict(token, [lambda: None, token.cancel, lambda: None]) == [0, 1, 2]


def test_cancelled_job_does_not_begin_to_write() -> None:
    token = CancelToken()
    assert not token.cancel()
    with pytest.raises(Cancelled):
        token.commit()


def test_committed_job_is_told_only_at_its_next_check() -> None:
    """The step that was under way is reported before the job ends."""
    token = CancelToken()
    token.commit()
    assert token.cancel()
    token.commit()
    for check in (token.wait, token.check):
        with pytest.raises(Cancelled):
            check()


@pytest.mark.parametrize("error", [RuntimeError("torch"), ValueError("other")])
def test_every_exception_arrives(error: Exception, qtbot: QtBot, seen: list[Any]) -> None:
    """napari's worker falls silent for a RuntimeError."""

    def fail() -> None:
        raise error

    def fail_in_steps(token: CancelToken) -> Generator[int, None, None]:
        yield 0
        raise error

    in_background(fail, then=seen.append)
    qtbot.waitUntil(lambda: seen == [Failure(error)], timeout=WAIT)
    start_job(fail_in_steps, seen.append, seen.append)
    qtbot.waitUntil(lambda: seen == [Failure(error), 0, Failure(error)], timeout=WAIT)
