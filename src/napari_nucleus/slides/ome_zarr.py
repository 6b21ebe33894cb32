"""OME-Zarr images, versions 0.4 and 0.5."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.slides.overview import SMALL
from napari_nucleus.slides.pixel_size import PixelSize, micrometres
from napari_nucleus.slides.pixels import read_when_needed
from napari_nucleus.slides.pyramid import array_as_rgb
from napari_nucleus.slides.stored import StoredImage, choose_scene

METADATA = ".zattrs", ".zgroup", "zarr.json"
"""Files of which one is in every folder of OME-Zarr."""

_RGB = ["FF0000", "00FF00", "0000FF"]

# Windows in a row and a column that identify an image, and their side.
_SAMPLES = 8
_SAMPLE = 64


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr group.

    Parameters
    ----------
    path : Path
        The folder.
    """
    return any(os.path.isfile(path / name) for name in METADATA)


def read_ome_zarr(path: Path, scene: int | str | None = None) -> StoredImage:
    """Return the levels of an image.

    Parameters
    ----------
    path : Path
        The group of an image, or one that holds several as bioformats2raw writes them.
    scene : int or str or None
        Which of several; None for the largest.

    Returns
    -------
    StoredImage
        In colour or grey, of its only time and plane.

    Raises
    ------
    UserError
        If there is no such image, or it is a stack, fluorescence, or a plate of many.
    OSError, RuntimeError, ValueError, KeyError, TypeError
        If it cannot be read.
    """
    root = zarr.open_group(path, mode="r")
    groups = _images(root, path.name)
    images = [_Multiscale(group, path.name) for group in groups]
    areas = [math.prod(image.shape) for image in images]
    largest = areas.index(max(areas))
    scenes = choose_scene(path.name, [image.name for image in images], scene, largest)
    image = images[scenes.chosen]
    levels = [array_as_rgb(level, path.name) for level in image.levels()]
    height, width = levels[0].shape[:2]
    levels[0][height // 2, width // 2].compute(scheduler="threads")  # fails now, not in the work
    return StoredImage(
        levels,
        image.size(),
        scenes=scenes,
        fingerprint=partial(_fingerprint, image),
    )


def _ome(group: Any) -> Mapping[str, Any]:
    """Return the metadata of a group, which version 0.5 keeps under a key."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _images(root: zarr.Group, name: str) -> list[zarr.Group]:
    """Return the groups of the images in a file."""
    metadata = _ome(root)
    if "multiscales" in metadata:
        return [root]
    if "plate" in metadata or "well" in metadata:
        raise UserError(f"{name} is a plate of many images: open one of the images in it")
    listed = metadata.get("series")
    if listed is None and "OME" in root:
        listed = _ome(root["OME"]).get("series")
    if listed is None:
        listed = [str(number) for number in range(len(list(root.group_keys())))]
    groups = [root[key] for key in listed if key in root]
    images = [one for one in groups if isinstance(one, zarr.Group) and "multiscales" in _ome(one)]
    if not images:
        raise ValueError("no OME-Zarr image in it")
    return images


class _Multiscale:
    """An image at several scales."""

    def __init__(self, group: zarr.Group, file: str) -> None:
        self._file = file
        self.metadata = _ome(group)
        self._multiscale = self.metadata["multiscales"][0]
        self.name = str(self._multiscale.get("name") or "").strip("/")
        self._datasets = self._multiscale["datasets"]
        self.arrays: list[zarr.Array] = [
            zarr.open_array(group.store_path / dataset["path"], mode="r")
            for dataset in self._datasets
        ]
        self._axes = self._multiscale["axes"]
        self._names = [axis["name"] for axis in self._axes]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = (self.arrays[0].shape[self._names.index(axis)] for axis in "yx")
        return height, width

    def levels(self) -> list[da.Array]:
        """Return the levels as (H, W) or (H, W, C), largest first."""
        self._check_channels()
        levels = [_plane(array, self._names) for array in self.arrays]
        return sorted(levels, key=lambda level: level.shape[0], reverse=True)

    def size(self) -> PixelSize | None:
        """Return the pixel size by the scales and units of the axes."""
        scales = np.ones(len(self._names))
        with suppress(KeyError, TypeError, ValueError):
            for owner in (self._datasets[0], self._multiscale):
                for transform in owner.get("coordinateTransformations") or ():
                    if transform["type"] == "scale":
                        scales = scales * np.array(transform["scale"], float)
            x, y = (self._names.index(axis) for axis in "xy")
            units = [micrometres(str(self._axes[axis].get("unit", ""))) for axis in (x, y)]
            size = PixelSize(float(scales[x]) * units[0], float(scales[y]) * units[1])
            return size if size.is_plausible else None
        return None

    def _check_channels(self) -> None:
        """Refuse stacks and fluorescence."""
        sizes = dict(zip(self._names, self.arrays[0].shape, strict=True))
        if any(sizes[axis] > 1 for axis in sizes if axis not in ("y", "x", "c")):
            raise UserError(f"{self._file} is a stack ({sizes}): save one plane of it as RGB")
        channels = (self.metadata.get("omero") or {}).get("channels") or ()
        colors = [str(one.get("color", "")).upper() for one in channels]
        named = sizes.get("c", 1) > 1 and any(colors) and colors[:3] != _RGB
        if sizes.get("c", 1) not in (1, 3, 4) or named:
            raise UserError(
                f"{self._file} has {sizes['c']} separate channels, as fluorescence has: save it as "
                "RGB"
            )


def _plane(array: zarr.Array, axes: Sequence[str]) -> da.Array:
    """Return the plane of an array, with its channels last if it has several."""
    sizes = dict(zip(axes, array.shape, strict=True))
    chunks = dict(zip(axes, array.chunks, strict=True))
    order = [axis for axis in "yxc" if sizes.get(axis, 1) > 1 or axis in "yx"]

    def read(rows: range, columns: range) -> NDArray[Any]:
        """Read all channels of a part."""
        wanted = {
            "y": slice(rows.start, rows.stop),
            "x": slice(columns.start, columns.stop),
            "c": slice(None),
        }
        part = np.asarray(array[tuple(wanted[axis] if axis in order else 0 for axis in axes)])
        stored = [axis for axis in axes if axis in order]
        return part.transpose([stored.index(axis) for axis in order])

    shape = tuple(sizes[axis] for axis in order)
    height, width = (chunks[axis] * max(round(SMALL / chunks[axis]), 1) for axis in "yx")
    return read_when_needed(read, shape, (height, width), array.dtype)


def _fingerprint(image: _Multiscale) -> str:
    """Return what identifies an image: its metadata, and windows of two levels."""
    digest = hashlib.sha256(json.dumps(image.metadata, sort_keys=True, default=str).encode())
    levels = image.levels()
    for level in (levels[0], levels[-1]):
        digest.update(str(level.shape).encode())
        rows, columns = (
            np.linspace(0, max(side - _SAMPLE, 0), _SAMPLES).astype(int).tolist()
            for side in level.shape[:2]
        )
        windows = [level[y : y + _SAMPLE, x : x + _SAMPLE] for y in rows for x in columns]
        for part in da.compute(*windows, scheduler="threads"):
            digest.update(part.tobytes())
    return digest.hexdigest()
