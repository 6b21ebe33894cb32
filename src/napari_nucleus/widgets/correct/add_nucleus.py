"""Nuclei that are missing, outlined one after the other while the window lives."""

from collections import deque

from qtpy.QtCore import QObject, Signal

from napari_nucleus.errors import UserError
from napari_nucleus.prompts.propose import Outline, OutlineProposer
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.shared.background import Failure, in_background

Prompt = tuple[float, float] | Box


class NucleusAdder(QObject):
    """Asks an `OutlineProposer` in a thread.

    Parameters
    ----------
    proposer : OutlineProposer
        Who is asked.
    """

    found = Signal(object, str)
    """An `Outline`, and the type that the nucleus shall have."""
    failed = Signal(str)
    """Why there is none, in one line."""
    waiting = Signal(int)
    """Number of nuclei still to outline."""

    def __init__(self, proposer: OutlineProposer) -> None:
        super().__init__()
        self.proposer = proposer
        self._asked: deque[tuple[Prompt, str]] = deque()

    def ask(self, prompt: Prompt, type_name: str) -> None:
        """Look for a nucleus of a type at a point (x, y) or in a box of level-0 pixels."""
        self._asked.append((prompt, type_name))
        self.waiting.emit(len(self._asked))
        if len(self._asked) == 1:
            self._look()

    def _look(self) -> None:
        in_background(self.proposer.outline, self._asked[0][0], then=self._on_outline)

    def _on_outline(self, outline: Outline | Failure) -> None:
        _, type_name = self._asked.popleft()
        self.waiting.emit(len(self._asked))
        if self._asked:
            self._look()
        if not isinstance(outline, Failure):
            self.found.emit(outline, type_name)
        elif isinstance(outline.error, UserError):
            self.failed.emit(str(outline.error))
        else:
            raise outline.error
