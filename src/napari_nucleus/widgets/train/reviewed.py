"""Which of the open results have regions that were reviewed."""

from collections.abc import Iterable
from pathlib import Path

from napari.layers import Labels, Layer

from napari_nucleus.errors import UserError
from napari_nucleus.results.journal.reviewed import reviewed_regions
from napari_nucleus.widgets.shared.layers import result_of

_JOURNAL = "edits.jsonl"


class Reviewed:
    """Looks into the journals of results, and into none twice that has not changed."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[float, int], bool]] = {}

    def of(self, layers: Iterable[Layer]) -> list[Path]:
        """Return the folders of results among layers that have reviewed regions."""
        folders = (result_of(one) for one in layers if isinstance(one, Labels))
        return [folder for folder in dict.fromkeys(folders) if folder and self._has_some(folder)]

    def _has_some(self, folder: Path) -> bool:
        try:
            stat = (folder / _JOURNAL).stat()
            state = (stat.st_mtime, stat.st_size)
            if folder not in self._seen or self._seen[folder][0] != state:
                self._seen[folder] = (state, bool(reviewed_regions(folder)))
        except (OSError, UserError):  # no journal, or one that is told of where it is used
            return False
        return self._seen[folder][1]
