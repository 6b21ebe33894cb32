"""The nuclei of one tile: found from its pixels alone, and kept in a file."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.measure import POSITION_COLUMNS, measure, measurement_columns
from napari_nucleus.measure.runs import LabelRuns, label_runs
from napari_nucleus.slides.tiles import Grid, Tile

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel
    from napari_nucleus.slides import Slide

BAND = 16
"""Network pixels around its core in which a tile offers nuclei, too: two tiles may disagree on a
nucleus's centre by as much."""


@dataclass(frozen=True)
class TileNuclei:
    """What a tile offers: the nuclei centred in its core, or within `BAND` of it.

    N nuclei, ordered by the row and the column of their centres. Which of two tiles keeps a nucleus
    that both offer is settled afterwards (`seams`).

    Attributes
    ----------
    row, column : int
        Place of the tile in the grid.
    table : DataFrame
        Columns of `measure` without `label`; of models that classify pixels, `type` and
        `type_prob`.
    centres : (N, 2) ndarray of float64
        x and y in network pixels, from the first of the slide.
    depth : (N,) ndarray of float32
        Network pixels from the centre to the nearest edge of the window; edges of the slide, beyond
        which there is nothing to be seen, do not count.
    runs : LabelRuns
        Pixels of the nuclei, in level-0 pixels; its labels are 0 to N - 1.
    features : (N, F) ndarray of float16
        The network's, on which classes are taught (`NucleusModel.features`).
    """

    row: int
    column: int
    table: pd.DataFrame
    centres: NDArray[np.float64]
    depth: NDArray[np.float32]
    runs: LabelRuns
    features: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.table)

    def to_bytes(self) -> bytes:
        """Return the contents of a file; those of a damaged one are refused when read."""
        runs, table = self.runs, self.table
        position = np.array([table[name] for name in POSITION_COLUMNS], np.float64)
        measured = table.drop(columns=[*POSITION_COLUMNS, "type"], errors="ignore")
        arrays = {
            "place": np.array([self.row, self.column]),
            "position": position,
            "measured": measured.to_numpy(np.float32),
            "centres": self.centres,
            "depth": self.depth,
            "nucleus": runs.nucleus.astype(np.int32),
            "x": runs.x.astype(np.int32),
            "y": runs.y.astype(np.int32),
            "length": runs.length.astype(np.int32),
            "features": self.features,
        }
        if "type" in table:
            arrays["type"] = table["type"].to_numpy(str)
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, mpp: float) -> Self:
        """Return what `to_bytes` has written.

        Parameters
        ----------
        data : bytes
            Contents of the file.
        mpp : float
            µm per level-0 pixel, by which the columns are named.

        Returns
        -------
        TileNuclei
            The same.

        Raises
        ------
        ValueError
            If they are damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}  # checks their CRC
            return cls._of(arrays, mpp)
        except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"the tile is damaged ({error})") from error

    @classmethod
    def _of(cls, arrays: dict[str, NDArray], mpp: float) -> Self:
        typed = "type" in arrays
        position = dict(zip(POSITION_COLUMNS, arrays["position"], strict=True))
        for name in POSITION_COLUMNS[2:]:
            position[name] = position[name].astype(np.int64)
        names = [*measurement_columns(mpp), *(["type_prob"] if typed else [])]
        table = pd.DataFrame(position | dict(zip(names, arrays["measured"].T, strict=True)))
        if typed:
            table["type"] = arrays["type"].astype(object)
        nucleus, x, y, length = (arrays[name] for name in ("nucleus", "x", "y", "length"))
        runs = LabelRuns(np.arange(len(table)), nucleus, x, y, length)
        row, column = arrays["place"].tolist()
        return cls(
            row,
            column,
            table,
            arrays["centres"],
            arrays["depth"],
            runs,
            arrays["features"],
        )


def find_nuclei(
    slide: "Slide",
    grid: Grid,
    network: "NucleusModel",
    tile: Tile,
    maps: dict[str, NDArray],
    mpp: float,
) -> TileNuclei:
    """Turn the maps of a tile's window into the nuclei that the tile offers.

    Parameters
    ----------
    slide : Slide
        The image, whose pixels are measured.
    grid : Grid
        Maps network pixels to level-0 pixels.
    network : NucleusModel
        In evaluation mode.
    tile : Tile
        Core and window in network pixels.
    maps : dict of str to ndarray
        Maps of the window, as `NucleusModel.find` takes them.
    mpp : float
        µm per level-0 pixel.

    Returns
    -------
    TileNuclei
        Without nuclei, if there are none.
    """
    seen, found = network.find(maps)
    corner = tile.window.x0, tile.window.y0
    centres = found[["centroid_x", "centroid_y"]].to_numpy(np.float64) + corner
    offered = _offered(centres, tile, grid)
    # neighbours keep their pixels while outlines are smoothed, whoever offers them
    labels, box = grid.to_slide(seen, maps["np"], network.threshold, tile.window)
    numbers = np.zeros(seen.max(initial=0) + 1, np.int32)  # place in the table from 1 on
    numbers[found["label"]] = np.where(offered, np.arange(1, len(found) + 1), 0)
    labels = numbers[labels]
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    top, left = (int(lines[0]) if len(lines) else 0 for lines in (rows, columns))
    labels = labels[top : rows[-1] + 1, left : columns[-1] + 1] if len(rows) else labels[:0, :0]
    x, y = box.x0 + left, box.y0 + top
    height, width = labels.shape
    table = measure(labels, slide.read(x, y, width, height), mpp, (x, y), slide.white)
    kept = table.pop("label").to_numpy() - 1
    # ordered by place, so that the order depends on nothing else
    order = np.lexsort((table["centroid_x"], table["centroid_y"]))
    table, kept, centres = (
        table.iloc[order].reset_index(drop=True),
        kept[order],
        centres[kept[order]],
    )
    runs = label_runs(labels)
    if not network.classifies_nuclei:
        for name in ("type_prob", "type"):
            table[name] = found[name].to_numpy()[kept]
    return TileNuclei(
        tile.row,
        tile.column,
        table,
        centres,
        _depth(centres, tile, grid),
        LabelRuns(
            np.arange(len(table)),
            np.argsort(order)[runs.nucleus],
            runs.x + x,
            runs.y + y,
            runs.length,
        ),
        network.features(seen, maps)[kept].astype(np.float16),
    )


def _offered(centres: NDArray[np.float64], tile: Tile, grid: Grid) -> NDArray[np.bool_]:
    core = tile.core.grown(BAND, grid.extent)
    x, y = centres.T
    inside = (x >= core.x0 - 0.5) & (x < core.x1 - 0.5)
    return inside & (y >= core.y0 - 0.5) & (y < core.y1 - 0.5)


def _depth(centres: NDArray[np.float64], tile: Tile, grid: Grid) -> NDArray[np.float32]:
    window, extent = tile.window, grid.extent
    x, y = centres.T
    sides = (
        (window.x0 > extent.x0, x - window.x0),
        (window.y0 > extent.y0, y - window.y0),
        (window.x1 < extent.x1, window.x1 - x),
        (window.y1 < extent.y1, window.y1 - y),
    )
    depth = np.full(len(centres), np.inf, np.float32)
    for inside, distance in sides:
        if inside:
            depth = np.minimum(depth, distance, dtype=np.float32, casting="unsafe")
    return depth
