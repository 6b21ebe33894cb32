"""Recently opened slides."""

import json
from pathlib import Path

import platformdirs

from napari_nucleus.files import replacing

_KEPT = 10


def recent_slides() -> list[Path]:
    """Return recently opened slides that still exist, latest first."""
    try:
        paths = json.loads(_store().read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):  # none yet, or truncated: start a new list
        return []
    return [path for path in map(Path, paths) if path.exists()]


def remember(path: Path) -> None:
    """Put a slide first among the recent ones.

    Raises
    ------
    UserError
        If the disk is full or the list cannot be written.
    """
    path = path.resolve()
    others = [other for other in recent_slides() if other != path]
    paths = [str(one) for one in (path, *others)]
    with replacing(_store()) as part:
        part.write_text(json.dumps(paths[:_KEPT]), encoding="utf-8")


def _store() -> Path:
    return platformdirs.user_state_path("napari-nucleus") / "recent.json"
