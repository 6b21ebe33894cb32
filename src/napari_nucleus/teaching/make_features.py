"""Features for nuclei that have none: of imported results, of earlier ones, and after edits."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256
from napari_nucleus.results import Result
from napari_nucleus.results.features import FeatureStore
from napari_nucleus.results.journal.rows import NucleusTable, Rows
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box, Grid
from napari_nucleus.weights.store import (
    DEFAULT_MODEL,
    find_checkpoint,
    list_checkpoints,
    trained_dir,
)

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel


def find_network(result: Result, wanted: Mapping[str, str] | None = None) -> Path:
    """Return the file of the network that is to make the features of a result.

    Parameters
    ----------
    result : Result
        The result.
    wanted : mapping of str to str or None
        ``name`` and ``sha256`` of the network that is to be taken where there are no features yet;
        None is the one that found the nuclei, or the default if that is not here.

    Raises
    ------
    UserError
        If the network that made the features that there are, or the one that is wanted, is not
        here.
    """
    store = FeatureStore.open(result.path)
    needed = store.network if store is not None else wanted
    file = _by_digest(needed["sha256"] if needed else result.run["model"]["sha256"])
    if file is not None:
        return file
    if needed is None:
        return find_checkpoint(DEFAULT_MODEL)
    raise UserError(
        f"{result.path} needs features of {needed['name']} ({needed['sha256'][:8]}), whose weights "
        f"are not here: copy their file into {trained_dir()}."
    )


def _by_digest(digest: str) -> Path | None:
    """Return the file of weights with a SHA-256."""
    files = list_checkpoints().values()
    return next((file for file in files if digest and sha256(file) == digest), None)


def measured_nuclei(result: Result) -> NucleusTable:
    """Return the nuclei of a result with what tells whether their features are current.

    Parameters
    ----------
    result : Result
        The result.
    """
    area = "area_px2" if result.mpp is None else "area_um2"
    return result.nuclei(("label", "type", "centroid_x", "centroid_y", area))


def lacking_features(result: Result, nuclei: NucleusTable) -> NDArray[np.bool_]:
    """Tell which nuclei have no features, or had another shape when these were made.

    Parameters
    ----------
    result : Result
        The result.
    nuclei : NucleusTable
        As `measured_nuclei` returns them.

    Returns
    -------
    (N,) ndarray of bool
        One per nucleus.
    """
    store = FeatureStore.open(result.path)
    if store is None:
        return np.ones(len(nuclei), bool)
    return store.find(nuclei.columns) < 0


def make_features_steps(
    result: Result, nuclei: NucleusTable, network: "NucleusModel", slide: Slide
) -> Generator[tuple[int, int], None, None]:
    """Compute and keep the features of the nuclei that lack them, tile by tile.

    Parameters
    ----------
    result : Result
        The result.
    nuclei : NucleusTable
        As `measured_nuclei` returns them.
    network : NucleusModel
        That of `find_network`, in evaluation mode, on its device.
    slide : Slide
        The image.

    Yields
    ------
    done, total : int
        Tiles.

    Raises
    ------
    UserError
        If the result has no µm/px, the image cannot be read, or the disk is full.
    """
    from napari_nucleus.inference.on_this_machine import compute_maps
    from napari_nucleus.inference.stages import Stages
    from napari_nucleus.inference.tile_queue import TileQueue

    if result.mpp is None:
        raise UserError(f"{result.path} has no µm/px: segment the image again with its pixel size.")
    lacking = np.flatnonzero(lacking_features(result, nuclei))
    store = FeatureStore.open(result.path)
    scale = network.mpp / result.mpp
    grid = Grid(result.shape, scale, network.stride, network.tile, network.margin)
    centres = np.stack([nuclei.columns[name] for name in ("centroid_x", "centroid_y")], 1)
    centres = (centres[lacking] + 0.5) / scale - 0.5
    by_tile = _by_tile(centres, grid)
    tiles = [grid.tile(*place) for place in by_tile]
    names = [name for name in nuclei.columns if name != "type"]
    queue = TileQueue(tiles, grid, None)
    about = {"name": network.name, "sha256": network.sha256}
    yield 0, len(tiles)
    for done, (tile, maps) in enumerate(compute_maps(queue, slide, grid, [network], Stages()), 1):
        mine = by_tile[tile.row, tile.column]
        rows = {name: nuclei.columns[name][lacking[mine]] for name in names}
        labels = _labels_seen(result, grid, tile.window, rows, centres[mine])
        present = np.unique(labels[labels > 0])
        features = network.features(labels, maps)
        features = features[np.searchsorted(present, rows["label"])]
        if store is None:
            store = FeatureStore.create(result.path, about, features.shape[1])
        store.put(rows, features)
        yield done, len(tiles)


def _by_tile(centres: NDArray[np.float64], grid: Grid) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Return which nuclei lie in the core of each tile, row by row."""
    first = grid.tile(0, 0).core
    columns = (centres[:, 0] // first.width).clip(0, grid.columns - 1).astype(int)
    rows = (centres[:, 1] // first.height).clip(0, grid.rows - 1).astype(int)
    tile = rows * grid.columns + columns
    order = np.argsort(tile, kind="stable")
    places, starts = np.unique(tile[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(places) else []
    return {
        divmod(int(place), grid.columns): part for place, part in zip(places, parts, strict=True)
    }


def _labels_seen(
    result: Result, grid: Grid, window: Box, rows: Rows, centres: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Return the labels of a window at the network's resolution, each wanted one among them."""
    height, width = result.shape
    x0, y0, _, _ = grid.on_slide(window)
    columns = np.floor((np.arange(window.width) + 0.5) * grid.scale + x0).astype(int)
    lines = np.floor((np.arange(window.height) + 0.5) * grid.scale + y0).astype(int)
    columns, lines = columns.clip(0, width - 1), lines.clip(0, height - 1)
    left, top = int(columns[0]), int(lines[0])
    box = result.read_labels(left, top, int(columns[-1]) - left + 1, int(lines[-1]) - top + 1)
    seen = box[lines - top][:, columns - left].copy()
    # a nucleus smaller than a pixel of the network is where its centre is
    lost = ~np.isin(rows["label"], seen)
    x, y = np.rint(centres[lost].T - [[window.x0], [window.y0]]).astype(int)
    seen[y.clip(0, window.height - 1), x.clip(0, window.width - 1)] = rows["label"][lost]
    return seen
