"""Result folders `<stem>.nucleus`: labels, table, provenance and the journal of corrections."""

from napari_nucleus.results.reader import Result, open_result
from napari_nucleus.results.writer import ResultWriter

__all__ = [
    "Result",
    "ResultWriter",
    "open_result",
]
