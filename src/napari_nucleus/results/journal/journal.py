"""The journal `edits.jsonl`: one JSON object per line, only ever appended to.

Lines are numbered and name what was done::

    {"n": 6, "pixels": "…"}
    {"n": 7, "edit": "split", …}
    {"n": 8, "undo": 7}
    {"n": 9, "redo": 7}

An edit that changes pixels takes two lines: first the pixels, then all else, which makes it valid.
Both are on the disk before the labels are written, so that the labels never know more than the
journal.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_nucleus.errors import UserError
from napari_nucleus.files import write_errors

Line = dict[str, Any]


class Journal:
    """The lines of a result folder's journal.

    Attributes
    ----------
    lines
        All that are whole.
    torn
        Whether the last one was cut, by a full disk or a power failure, and is left out.
    unfinished
        Line with the pixels of an edit whose own line was cut or never came.

    Parameters
    ----------
    folder : Path
        The result folder.

    Raises
    ------
    UserError
        If another line than the last one is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "edits.jsonl"
        data = self._path.read_bytes() if self._path.exists() else b""
        whole, newline, tail = data.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        self.lines = [self._parse(number, line) for number, line in enumerate(lines, 1)]
        self.torn = bool(tail)
        self.unfinished: Line | None = None
        self._end = len(whole) + len(newline)
        if self.lines and "pixels" in self.lines[-1]:
            self.unfinished = self.lines.pop()
            self._end -= len(lines[-1]) + 1

    @property
    def last(self) -> int:
        """Number of the last line, 0 without one."""
        return self.lines[-1]["n"] if self.lines else 0

    def append(self, lines: list[Line], number: int) -> list[Line]:
        """Add lines that are on the disk when this returns.

        Parameters
        ----------
        lines : list of Line
            Without their numbers.
        number : int
            Of the first one: higher than that of any before.

        Returns
        -------
        list
            The lines as they were written.

        Raises
        ------
        UserError
            If the disk is full or the file cannot be written to; it is as it was then.
        """
        lines = [{"n": n, **line} for n, line in enumerate(lines, number)]
        text = "".join(
            json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
            for line in lines
        ).encode()
        with write_errors(self._path), self._path.open("ab", buffering=0) as file:
            end = min(file.tell(), self._end)  # before what was cut
            try:
                file.truncate(end)
                rest = text
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # if that fails, too, the next opening drops the rest
                    file.truncate(end)
                raise
        self.lines += lines
        self._end = end + len(text)
        return lines

    def _parse(self, number: int, text: bytes) -> Line:
        try:
            line = json.loads(text)
            if (
                not isinstance(line["n"], int)
                or not {"pixels", "edit", "undo", "redo"} & line.keys()
            ):
                raise ValueError("invalid correction")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._path} is damaged in line {number} ({error}): put a copy of the file back."
            ) from error
        return line
