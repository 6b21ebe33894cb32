"""Go from one doubtful nucleus to the next."""

from typing import NamedTuple

import numpy as np

from napari_nucleus.edits.review_queue import uncertain_nuclei
from napari_nucleus.edits.session import EditSession

_WORDS = {"class": "class unsure", "size": "unusual size", "boundary": "unusual outline"}


class UncertainNucleus(NamedTuple):
    """A nucleus to check.

    Attributes
    ----------
    label : int
        The nucleus.
    doubt : float
        From 0 to 1.
    reason : str
        Why, in words.
    """

    label: int
    doubt: float
    reason: str


class ReviewQueue:
    """The nuclei to check as they were when it was made, the most doubtful first.

    Parameters
    ----------
    session : EditSession
        The result.
    """

    def __init__(self, session: EditSession) -> None:
        self._session = session
        self._queue = uncertain_nuclei(session.table(), session.checked)
        self._labels = self._queue["label"].to_numpy()
        self._at = 0

    def __len__(self) -> int:
        """Return the number of nuclei in the queue."""
        return len(self._queue)

    @property
    def place(self) -> int:
        """How many come before the current one."""
        return self._at

    @property
    def current(self) -> UncertainNucleus | None:
        """The nucleus to check now, None when all are checked."""
        if self._at == len(self):
            return None
        row = self._queue.iloc[self._at]
        return UncertainNucleus(int(row["label"]), float(row["doubt"]), _WORDS[row["reason"]])

    def go_on(self) -> None:
        """Go to the next one that is still there."""
        self._at = next(filter(self._is_there, range(self._at + 1, len(self))), len(self))

    def go_back(self) -> None:
        """Go to the one before that is still there; stay if there is none."""
        self._at = next(filter(self._is_there, reversed(range(self._at))), self._at)

    def go_to(self, label: int) -> bool:
        """Go to a nucleus; return whether it is in the queue."""
        places = np.flatnonzero(self._labels == label)
        if len(places):
            self._at = int(places[0])
        return bool(len(places))

    def _is_there(self, place: int) -> bool:
        return not self._session.rows([int(self._labels[place])]).empty
