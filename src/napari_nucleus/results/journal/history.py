"""What is done and can be undone, what is undone and can be redone."""

from collections.abc import Iterator
from typing import NamedTuple

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.edit import Edit
from napari_nucleus.results.journal.journal import Journal, Line
from napari_nucleus.results.journal.pixels import PixelChange


class Recorded(NamedTuple):
    """An edit as the journal has it; read again when it is needed, because most never are."""

    line: Line
    pixels: str | None

    @property
    def number(self) -> int:
        """Number of its line in the journal."""
        return self.line["n"]

    @property
    def name(self) -> str:
        """What was done."""
        return self.line["edit"]

    def edit(self) -> Edit:
        """Return the edit.

        Raises
        ------
        UserError
            If it is damaged.
        """
        try:
            return Edit.from_json(self.line, self.pixels)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"edits.jsonl is damaged in line {self.number} ({error}): put a copy of it back."
            ) from error


class History:
    """The two stacks that a journal leads to.

    A gap in the numbers of its lines means that some were lost. What they did stays, but neither
    they nor what came before them can be undone any more.

    Attributes
    ----------
    done, undone
        Edits to be undone and redone next are the last ones.

    Parameters
    ----------
    journal : Journal
        All its lines are taken.
    saved : int
        Number of the last line that is in `nuclei.parquet`.
    """

    def __init__(self, journal: Journal, saved: int) -> None:
        self.done: list[Recorded] = []
        self.undone: list[Recorded] = []
        self._pixels: str | None = None
        self._last = journal.lines[0]["n"] - 1 if journal.lines else saved
        self._since: list[tuple[Recorded, bool]] = []
        for line in journal.lines:
            step = self.take(line)
            if step is not None and line["n"] > saved:
                self._since.append(step)
        if self._last < saved:
            self._forget()
        unfinished = journal.unfinished
        self._unfinished = unfinished if unfinished and unfinished["n"] > saved else None

    def take(self, line: Line) -> tuple[Recorded, bool] | None:
        """Go on by one line; return the edit that it is about and whether it is done by it.

        Parameters
        ----------
        line : Line
            The next line of the journal.

        Raises
        ------
        UserError
            If it undoes or redoes what is not next.
        """
        if line["n"] != self._last + 1:
            self._forget()
        self._last = line["n"]
        if "pixels" in line:
            self._pixels = line["pixels"]
            return None
        pixels, self._pixels = self._pixels, None
        if "edit" in line:
            self.undone.clear()
            self.done.append(Recorded(line, pixels))
            return self.done[-1], True
        redo = "redo" in line
        source, target = (self.undone, self.done) if redo else (self.done, self.undone)
        if not source or source[-1].number != line["redo" if redo else "undo"]:
            raise UserError(
                f"edits.jsonl is damaged in line {line['n']} (it does not follow from those "
                "before): put a copy of it back."
            )
        target.append(source.pop())
        return target[-1], redo

    def since_saved(self) -> Iterator[Edit]:
        """Yield what has been done since `nuclei.parquet` was saved; an undone edit is inverted."""
        for recorded, done in self._since:
            edit = recorded.edit()
            yield edit if done else edit.inverse()

    def unsettled(self) -> Iterator[PixelChange]:
        """Yield changes that the labels must show, and may not if a process was killed.

        All others have been written before the next line was.
        """
        if self._unfinished is not None:
            yield PixelChange.decode(self._unfinished["pixels"]).inverse()
        for stack, done in ((self.undone, False), (self.done, True)):
            if stack and (pixels := stack[-1].edit().pixels) is not None:
                yield pixels if done else pixels.inverse()

    def _forget(self) -> None:
        self.done.clear()
        self.undone.clear()
