"""DICOM: the slides in a folder, and slides that OpenSlide refuses, through pydicom."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, config
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from napari_nucleus.slides.pixel_size import PixelSize
from napari_nucleus.slides.pixels import read_when_needed
from napari_nucleus.slides.stored import StoredImage, choose_scene

_SERIES = 0x0020000E
_MATRIX_ROWS = 0x00480007
_PIXEL_DATA = 0x7FE00010


class Series(NamedTuple):
    """A slide in a folder.

    Attributes
    ----------
    largest : Path
        The file of its largest level.
    files : list of Path
        All its files, label and overview among them.
    name : str
        What the series is called, empty if it is not.
    pixels : int
        Pixels of the largest level.
    """

    largest: Path
    files: list[Path]
    name: str
    pixels: int


def is_dicom(path: Path) -> bool:
    """Tell whether a path is a file of DICOM, by its content, as far as it can be read.

    Parameters
    ----------
    path : Path
        The path.
    """
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


@config.disable_value_validation()
def dicom_series(folder: Path) -> list[Series]:
    """Return the slides in a folder.

    Parameters
    ----------
    folder : Path
        Folder of DICOM files, among other files. Folders in it are not searched.

    Returns
    -------
    list of Series
        By file name; empty without a slide.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    found: dict[str, Series] = {}
    for file in sorted(filter(is_dicom, folder.iterdir())):
        try:
            header = _header(file, lambda tag, *_: tag > _MATRIX_ROWS)
            uid, pixels = header.SeriesInstanceUID, _pixels(header)
        except (InvalidDicomError, AttributeError, ValueError):  # another kind of image, or damaged
            continue
        series = found.setdefault(uid, Series(file, [], header.get("SeriesDescription", ""), 0))
        series.files.append(file)
        if pixels > series.pixels:
            found[uid] = series._replace(largest=file, pixels=pixels)
    return list(found.values())


@config.disable_value_validation()
def read_dicom(path: Path, scene: int | str | None = None) -> StoredImage:
    """Return the levels of a slide whose tiles fill its grid row by row.

    Parameters
    ----------
    path : Path
        Any file of the series.
    scene : int or str or None
        The only image in it.

    Returns
    -------
    StoredImage
        All files of the series in the folder are its levels.

    Raises
    ------
    UserError
        If there is no such image.
    OSError, RuntimeError, ValueError, AttributeError
        If it cannot be read.
    """
    choose_scene(path.name, [""], scene)
    series = _header(path, lambda tag, *_: tag > _SERIES).SeriesInstanceUID
    levels: list[_Level] = []
    for file in sorted(filter(is_dicom, path.parent.iterdir())):
        if _header(file, lambda tag, *_: tag > _SERIES).get("SeriesInstanceUID") == series:
            header = _header(file, lambda tag, *_: tag >= _PIXEL_DATA)
            if "VOLUME" in header.get("ImageType", ["VOLUME"]):
                levels.append(_Level(file, header))
    levels.sort(key=lambda level: level.shape, reverse=True)
    arrays = [level.array() for level in levels]
    height, width = levels[0].shape[:2]
    arrays[0][height // 2, width // 2].compute(scheduler="threads")  # fails now, not in the work
    uids = " ".join(sorted(level.uid for level in levels))
    return StoredImage(arrays, levels[0].size, fingerprint=lambda: uids)


def _header(path: Path, stop: Callable[..., bool]) -> Dataset:
    with path.open("rb") as file:
        return read_partial(file, stop_when=stop)


def _pixels(header: Dataset) -> int:
    if header.SOPClassUID != VLWholeSlideMicroscopyImageStorage:
        raise ValueError("not a slide")
    return int(header.TotalPixelMatrixColumns * header.TotalPixelMatrixRows)


class _Level:
    """A file of tiles, decoded where they are read."""

    def __init__(self, path: Path, header: Dataset) -> None:
        _pixels(header)
        self._path, self.uid = path, header.SOPInstanceUID
        self.shape = int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns), 3
        self.dtype, self.ndim = np.dtype(np.uint8), 3
        self._tile = int(header.Rows), int(header.Columns)
        self.size = _size(header)
        frames = math.prod(
            -(-full // side) for full, side in zip(self.shape, self._tile, strict=False)
        )
        samples = header.get("SamplesPerPixel"), header.get("BitsAllocated")
        if int(header.get("NumberOfFrames", 1)) != frames:
            raise ValueError("tiles that do not fill the grid")
        if samples != (3, 8) or header.get("PlanarConfiguration"):
            raise ValueError("pixels that are not 8-bit RGB")
        self._encapsulated = header.file_meta.TransferSyntaxUID.is_compressed
        self._offsets = self._frames(frames)

    def array(self) -> da.Array:
        """Return the level as an array, a tile a chunk."""
        return read_when_needed(self._read, self.shape, self._tile)

    def _read(self, rows: range, columns: range) -> NDArray[np.uint8]:
        (height, width), wide = self._tile, -(-self.shape[1] // self._tile[1])
        tops, lefts = (
            range(axis.start // side, -(-axis.stop // side))
            for axis, side in zip((rows, columns), self._tile, strict=True)
        )
        tiles = [np.concatenate([self._decoded(y * wide + x) for x in lefts], axis=1) for y in tops]
        top, left = rows.start - tops.start * height, columns.start - lefts.start * width
        return np.concatenate(tiles)[top : top + len(rows), left : left + len(columns)]

    def _frames(self, frames: int) -> list[int]:
        """Return where in the file the frames begin."""
        with self._path.open("rb") as file:
            read_partial(file, stop_when=lambda tag, *_: tag >= _PIXEL_DATA)
            file.seek(12, io.SEEK_CUR)  # tag, type and length
            if not self._encapsulated:
                return [file.tell() + frame * 3 * math.prod(self._tile) for frame in range(frames)]
            parse_basic_offsets(file)
            count, offsets = parse_fragments(file)
            if count != frames:
                raise ValueError("tiles in several fragments")
            return offsets

    def _decoded(self, frame: int) -> NDArray[np.uint8]:
        with self._path.open("rb") as file:
            file.seek(self._offsets[frame])
            if not self._encapsulated:
                pixels = np.frombuffer(file.read(3 * math.prod(self._tile)), np.uint8)
                return pixels.reshape(*self._tile, 3)
            length = int.from_bytes(file.read(8)[4:], "little")
            with Image.open(io.BytesIO(file.read(length))) as image:
                return np.asarray(image.convert("RGB"))


def _size(header: Dataset) -> PixelSize | None:
    """Return the pixel size: of the pixel measures, else by the size of the scanned area in mm."""
    try:
        measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        y, x = measures.PixelSpacing
    except (AttributeError, IndexError):
        y = header.get("ImagedVolumeHeight", math.nan) / header.TotalPixelMatrixRows
        x = header.get("ImagedVolumeWidth", math.nan) / header.TotalPixelMatrixColumns
    size = PixelSize(1000 * float(x), 1000 * float(y))
    return size if size.is_plausible else None
