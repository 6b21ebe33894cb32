"""Open results with reviewed regions."""

from collections.abc import Iterable
from pathlib import Path

from napari.layers import Labels, Layer

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.widgets.shared.layers import result_of

_JOURNAL = "edits.jsonl"


class Reviewed:
    """Reads the journals of results, and none again that has not changed."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[float, int], bool]] = {}

    def among(self, layers: Iterable[Layer]) -> list[Path]:
        """Return the result folders of layers that have reviewed regions."""
        folders = (result_of(one) for one in layers if isinstance(one, Labels))
        return [folder for folder in dict.fromkeys(folders) if folder and self._has_regions(folder)]

    def _has_regions(self, folder: Path) -> bool:
        try:
            stat = (folder / _JOURNAL).stat()
            state = (stat.st_mtime, stat.st_size)
            if folder not in self._read or self._read[folder][0] != state:
                self._read[folder] = (state, bool(reviewed_regions(folder)))
        except (OSError, UserError):  # no journal, or a damaged one, which is reported on use
            return False
        return self._read[folder][1]
