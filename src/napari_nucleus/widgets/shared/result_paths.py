"""Paths for new results."""

import os
import re
from itertools import count
from pathlib import Path

import platformdirs

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide


def result_folder(slide: Slide, earlier: Path | None = None) -> Path:
    """Return the folder for a result: beside the image if that is writable, else in Documents.

    An earlier result of the same image is replaced, unless it was corrected. Anything else of that
    name stays, and the new folder gets a number.

    Parameters
    ----------
    slide : Slide
        The image.
    earlier : Path or None
        Its known result, if any.
    """
    folder = None if slide.path is None else slide.path.resolve().parent
    if folder is None or not os.access(folder, os.W_OK):
        folder = platformdirs.user_documents_path() / "napari-nucleus"
    name = re.sub(r"[^\w .-]", "_", slide.name)  # layers can have any name
    paths = (folder / f"{name}{'' if n == 1 else f'-{n}'}.nucleus" for n in count(1))
    return next(path for path in paths if not path.exists() or _replaceable(path, slide, earlier))


def _replaceable(path: Path, slide: Slide, earlier: Path | None) -> bool:
    try:
        result = open_result(path)
    except UserError:  # damaged, or no result
        return False
    source = result.run["source"]["path"]
    same_image = path == earlier or (slide.path and source == str(slide.path.resolve()))
    edits = path / "edits.jsonl"
    return bool(same_image) and not (edits.exists() and edits.stat().st_size)
