"""Go from one doubtful nucleus to the next."""

from typing import NamedTuple

from napari_nucleus.edits.session import EditSession

_WORDS = {"class": "class unsure", "size": "unusual size", "boundary": "unusual outline"}


class Doubt(NamedTuple):
    """A nucleus to check.

    Attributes
    ----------
    label
        The nucleus.
    doubt
        From 0 to 1.
    reason
        Why, in words.
    """

    label: int
    doubt: float
    reason: str


class CheckQueue:
    """The nuclei to check as they were when it was made, the most doubtful first.

    Parameters
    ----------
    session
        The result.
    """

    def __init__(self, session: EditSession) -> None:
        queue = session.next_to_check()
        self._session = session
        self._queue = [
            Doubt(label, doubt, _WORDS[reason])
            for label, doubt, reason in zip(
                queue["label"].tolist(), queue["doubt"].tolist(), queue["reason"], strict=True
            )
        ]
        self._place = {doubt.label: place for place, doubt in enumerate(self._queue)}
        self._at = 0

    def __len__(self) -> int:
        """Return the number of nuclei in the queue."""
        return len(self._queue)

    @property
    def place(self) -> int:
        """How many come before the current one."""
        return self._at

    @property
    def current(self) -> Doubt | None:
        """The nucleus to check now, None when all are checked."""
        return self._queue[self._at] if self._at < len(self._queue) else None

    def go_on(self) -> None:
        """Go to the next one that is still there."""
        self._at = min(self._at + 1, len(self._queue))
        while self.current is not None and self._session.rows([self.current.label]).empty:
            self._at += 1

    def go_back(self) -> None:
        """Go to the one before that is still there; stay if there is none."""
        for place in reversed(range(self._at)):
            if not self._session.rows([self._queue[place].label]).empty:
                self._at = place
                return

    def go_to(self, label: int) -> bool:
        """Go to a nucleus; return whether it is in the queue."""
        if label in self._place:
            self._at = self._place[label]
        return label in self._place
