"""Review of uncertain nuclei, one after the other."""

from typing import NamedTuple

import numpy as np

from napari_nucleus.edits.review_queue import uncertain_nuclei
from napari_nucleus.edits.session import EditSession

_WORDS = {"class": "uncertain class", "size": "unusual size", "boundary": "unusual outline"}


class UncertainNucleus(NamedTuple):
    """A nucleus to review.

    Attributes
    ----------
    label : int
        The nucleus.
    uncertainty : float
        From 0 to 1.
    reason : str
        Why, in words.
    """

    label: int
    uncertainty: float
    reason: str


class ReviewQueue:
    """Uncertain nuclei at the start of a review, the most uncertain first.

    Parameters
    ----------
    session : EditSession
        The result.
    count : int
        Nuclei at most.
    """

    def __init__(self, session: EditSession, count: int) -> None:
        self._session = session
        nuclei = session.canvas.table.columns
        self._queue = uncertain_nuclei(nuclei, session.checked, count)
        self._labels = self._queue["label"].to_numpy()
        self._position = 0

    def __len__(self) -> int:
        """Return the number of nuclei in the queue."""
        return len(self._queue)

    @property
    def position(self) -> int:
        """Number of nuclei before the current one."""
        return self._position

    @property
    def current(self) -> UncertainNucleus | None:
        """The nucleus under review, None at the end."""
        if self._position == len(self):
            return None
        row = self._queue.iloc[self._position]
        return UncertainNucleus(int(row["label"]), float(row["uncertainty"]), _WORDS[row["reason"]])

    def go_on(self) -> None:
        """Go to the next one that is still there."""
        later = range(self._position + 1, len(self))
        self._position = next(filter(self._is_there, later), len(self))

    def go_back(self) -> None:
        """Go to the one before that is still there; stay if there is none."""
        earlier = reversed(range(self._position))
        self._position = next(filter(self._is_there, earlier), self._position)

    def go_to(self, label: int) -> bool:
        """Go to a nucleus; return whether it is in the queue."""
        found = np.flatnonzero(self._labels == label)
        if len(found):
            self._position = int(found[0])
        return bool(len(found))

    def _is_there(self, position: int) -> bool:
        return not self._session.rows([int(self._labels[position])]).empty
