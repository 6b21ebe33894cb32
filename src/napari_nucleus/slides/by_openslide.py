"""Formats of scanners, read by OpenSlide."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openslide import OpenSlide, OpenSlideError
from PIL import Image

from napari_nucleus.slides.overview import SMALL
from napari_nucleus.slides.pixel_size import PixelSize
from napari_nucleus.slides.pixels import read_when_needed
from napari_nucleus.slides.stored import StoredImage, choose_scene

_SEVERAL_FILES = ".mrxs", ".vms", ".vmu"
_WHOLE = "whole slide"


def vendor(path: Path) -> str | None:
    """Return what OpenSlide takes a file for.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str or None
        OpenSlide's name of the format, "unknown" if a damaged file does not tell; None if it is of
        another format.
    """
    try:
        return OpenSlide.detect_format(path)
    except OpenSlideError:
        return "unknown"


def read_slide(path: Path, scene: int | str | None = None) -> StoredImage:
    """Return the levels of a slide.

    Parameters
    ----------
    path : Path
        A file of any format that OpenSlide reads; of several files, the one that it opens.
    scene : int or str or None
        One of several regions that were scanned; None reads all of the slide, with white between.

    Returns
    -------
    StoredImage
        White where nothing was scanned.

    Raises
    ------
    OpenSlideError
        If it cannot be read.
    UserError
        If there is no such region.
    """
    file = _File(path)
    slide = file.slide
    regions = _regions(slide.properties)
    names = [_WHOLE, *(f"region {number}" for number in range(1, len(regions) + 1))]
    scenes = choose_scene(path.name, names if len(regions) > 1 else [_WHOLE], scene)
    levels = []
    for level, (size, downsample) in enumerate(
        zip(slide.level_dimensions, slide.level_downsamples, strict=True)
    ):
        corner = 0, 0
        if scenes.chosen:
            x, y, width, height = regions[scenes.chosen - 1]
            corner, size = (x, y), (int(width / downsample), int(height / downsample))
        width, height = size
        if min(size) > 0:
            read = partial(file.read, level, downsample, corner)
            levels.append(read_when_needed(read, (height, width, 3), (SMALL, SMALL)))
    height, width = levels[0].shape[:2]
    levels[0][height // 2, width // 2].compute(scheduler="threads")  # fails now, not in the work
    profile = slide.color_profile
    several = path.suffix.lower() in _SEVERAL_FILES or _property(slide, "vendor") == "dicom"
    quickhash = _property(slide, "quickhash-1")
    return StoredImage(
        levels,
        _size(slide),
        profile=None if profile is None else profile.tobytes(),
        scenes=scenes,
        fingerprint=(lambda: quickhash) if several and quickhash else None,
    )


def _property(slide: OpenSlide, name: str) -> str:
    return slide.properties.get(f"openslide.{name}", "")


def _size(slide: OpenSlide) -> PixelSize | None:
    try:
        size = PixelSize(*(float(_property(slide, f"mpp-{axis}")) for axis in "xy"))
    except ValueError:
        return None
    return size if size.is_plausible else None


def _regions(properties: Mapping[str, str]) -> list[tuple[int, int, int, int]]:
    """Return the regions that were scanned, as (x, y, width, height) in pixels of level 0."""
    found: list[tuple[int, int, int, int]] = []
    while f"openslide.region[{len(found)}].x" in properties:
        x, y, width, height = (
            int(properties[f"openslide.region[{len(found)}].{side}"])
            for side in ("x", "y", "width", "height")
        )
        found.append((x, y, width, height))
    return found


class _File:
    """A slide that is open, for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.slide = OpenSlide(path)

    def read(
        self,
        level: int,
        downsample: float,
        corner: tuple[int, int],
        rows: range,
        columns: range,
    ) -> NDArray[np.uint8]:
        """Return a part of a level as RGB over white; the corner is in pixels of level 0."""
        left, top = corner
        place = left + round(columns.start * downsample), top + round(rows.start * downsample)
        size = len(columns), len(rows)
        try:
            region = self.slide.read_region(place, level, size)
        except OpenSlideError:  # after which OpenSlide fails for good, for every thread
            self.slide = OpenSlide(self._path)
            try:
                region = OpenSlide(self._path).read_region(place, level, size)
            except OpenSlideError as error:
                raise OSError(str(error)) from error
        over_white = Image.new("RGB", region.size, "white")
        over_white.paste(region, mask=region)
        return np.asarray(over_white)
