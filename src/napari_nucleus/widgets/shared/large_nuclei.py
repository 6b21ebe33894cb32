"""The table of a result that the window shows, read when it is needed."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.results.journal.rows import NucleusTable
from napari_nucleus.widgets.shared.shown_results import shown_results
from napari_nucleus.widgets.shared.table_model import cell_text


def table_of(nuclei: Labels) -> NucleusTable:
    """Return the nuclei of the result that a `nuclei` layer shows, as they are now.

    Parameters
    ----------
    nuclei : Labels
        The layer.

    Raises
    ------
    UserError
        If the result is damaged or gone.
    """
    folder = Path(nuclei.metadata["result"])
    if (editor := shown_results.editors.get(folder)) is not None:
        _read.cache_clear()  # a hundred bytes per nucleus that nobody needs
        return editor.session.canvas.table
    return _read(folder, *(_state(folder / name) for name in ("nuclei.parquet", "edits.jsonl")))


@lru_cache(maxsize=1)
def _read(folder: Path, *state: tuple[int, int]) -> NucleusTable:
    return open_result(folder).nuclei()


def _state(file: Path) -> tuple[int, int]:
    """Return what changes with the contents of a file."""
    if not file.exists():
        return 0, 0
    known = file.stat()
    return known.st_mtime_ns, known.st_size


class LargeNuclei(Labels):
    """The `nuclei` of a large result: the status bar looks up the nucleus under the mouse.

    napari's own features would be read with the layer, and take a second and several hundred bytes
    per million nuclei.
    """

    @property
    def _type_string(self) -> str:
        return "labels"  # for writers, menus and icons, which go by the name of the class

    def get_status(self, position: Any = None, **options: Any) -> dict[str, str]:
        """Return what the status bar shows of a point.

        Parameters
        ----------
        position : array-like or None
            The point.
        **options : Any
            As `Labels.get_status`.
        """
        status = super().get_status(position, **options)
        options.pop("value", None)
        value = None if position is None else self.get_value(position, **options)
        told = self._tell(int(value[1])) if value is not None and value[1] else ""
        return {
            name: text + told if name in ("coordinates", "value") else text
            for name, text in status.items()
        }

    def _tell(self, label: int) -> str:
        """Return the columns of a nucleus in words; nothing of one that is gone."""
        try:
            row = table_of(self).rows(np.array([label]))
        except (UserError, KeyError):
            return ""
        row.pop("label")
        texts = {name: cell_text(values[0]) for name, values in row.items()}
        return "; " + ", ".join(f"{name}: {text}" for name, text in texts.items() if text)
