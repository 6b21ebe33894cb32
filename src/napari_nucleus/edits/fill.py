"""Take the nuclei of another segmentation of the same image into a result, as one edit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from skimage.measure import label as connected_parts

from napari_nucleus.edits.canvas import Canvas, Points
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.nucleus_types import spare_color
from napari_nucleus.results import Result
from napari_nucleus.results.journal.edit import Change, Edit
from napari_nucleus.results.journal.history import Recorded
from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.journal.rows import Rows
from napari_nucleus.slides.tiles import Box

ADD_NUCLEI = "add nuclei"
SEGMENT_AGAIN = "segment again"

# Side of the blocks that are read at once, in pixels: four by four chunks of the labels.
_BLOCK = 2048


def add_nuclei(canvas: Canvas, new: Result) -> Edit | None:
    """Add the nuclei of another result where there are none yet.

    All nuclei stay as they are, and so do reviewed regions. A new nucleus of which more than half
    is covered is left out, another one loses what is covered.

    Parameters
    ----------
    canvas : Canvas
        The result.
    new : Result
        The other result.

    Returns
    -------
    Edit or None
        None where nothing is added.

    Raises
    ------
    UserError
        If it is of another image.
    """
    return _Fill(canvas, new, np.zeros(0, np.int64), _no_pixels()).edit(ADD_NUCLEI)


def segment_again(
    canvas: Canvas,
    new: Result,
    done: Iterable[Recorded],
    within: Sequence[Points] | None = None,
) -> Edit | None:
    """Replace the nuclei that nobody has corrected by those of another result.

    Corrected and accepted nuclei stay as they are, and so do reviewed regions and the places of
    nuclei that were deleted. A new nucleus of which more than half is covered by these is left
    out, another one loses what is covered.

    Parameters
    ----------
    canvas : Canvas
        The result.
    new : Result
        The other result.
    done : iterable of Recorded
        All edits of the result until now (`EditSession.done`).
    within : sequence of Points or None
        Polygons in which the other result was made: nuclei centred outside of them stay. None for
        the whole image.

    Returns
    -------
    Edit or None
        None where nothing changes.

    Raises
    ------
    UserError
        If it is of another image.
    """
    return _Fill(canvas, new, _replaceable(canvas, within), _erased(done)).edit(SEGMENT_AGAIN)


def _replaceable(canvas: Canvas, within: Sequence[Points] | None) -> np.ndarray:
    """Return the labels of nuclei that another model may replace."""
    columns, labels = canvas.table.columns, canvas.table.labels.astype(np.int64)
    stays = columns["edited"].astype(bool) | np.isin(labels, list(canvas.notes.checked))
    for x0, y0, x1, y1 in canvas.notes.reviewed:
        wide = (columns["x0"] < x1) & (columns["x1"] > x0)
        stays |= wide & (columns["y0"] < y1) & (columns["y1"] > y0)
    if within is not None:
        inside = [canvas.inside(polygon) for polygon in within]
        stays |= ~np.isin(labels, np.concatenate([np.zeros(0, np.int64), *inside]))
    return labels[~stays]


def _erased(done: Iterable[Recorded]) -> PixelChange:
    """Return all pixels from which a person has removed a nucleus."""
    runs = PixelChange.joined(
        PixelChange.decode(recorded.pixels)
        for recorded in done
        if recorded.pixels is not None and recorded.name not in (ADD_NUCLEI, SEGMENT_AGAIN)
    )
    return _some(runs, runs.after == 0)


@dataclass
class _Fill:
    """One result on its way into another.

    Attributes
    ----------
    canvas : Canvas
        The result that is changed.
    new : Result
        The other one.
    gone : ndarray
        Labels (N,) of the nuclei that it replaces, ascending.
    erased : PixelChange
        Pixels that stay free, unless they have been filled since.
    """

    canvas: Canvas
    new: Result
    gone: np.ndarray
    erased: PixelChange

    def __post_init__(self) -> None:
        if self.new.shape != self.canvas.levels[0].shape:
            raise UserError(f"{self.new.path.name} is of another image: choose one of this image.")
        table = self.new.table().sort_values("label", ignore_index=True)
        self._table: Rows = {str(name): values.to_numpy() for name, values in table.items()}
        self._labels = self._table["label"].astype(np.int64)
        self._count = int(self._labels.max(initial=0)) + 1
        self._stays = np.zeros(self.canvas.notes.next_label, bool)
        self._stays[self.canvas.table.labels] = True
        self._stays[self.gone] = False
        self._crumbs = _no_pixels()

    def edit(self, name: str) -> Edit | None:
        """Return the edit."""
        gone = self.canvas.table.rows(self.gone)
        boxes = [_edges(rows) for rows in (gone, self._table)]
        blocks = _blocks(np.concatenate(boxes), self.canvas.extent)
        size, free = self._sizes(blocks)
        taken = (free[self._labels] > 0) & (2 * free[self._labels] >= size[self._labels])
        if not taken.any() and not len(self.gone):
            return None
        rows = {column: values[taken] for column, values in self._table.items()}
        cut = free[rows["label"]] < size[rows["label"]]
        if self.new.mpp != self.canvas.mpp:
            cut[:] = True  # measured in other units
        self._cut_out(rows, cut)
        numbers = np.zeros(self._count, np.int32)
        numbers[rows["label"]] = self.canvas.notes.next_label + np.arange(len(rows["label"]))
        pixels = PixelChange.joined(self._changes(box, numbers) for box in blocks)
        rows["label"] = numbers[rows["label"]]
        after = {column: self._column(rows, column) for column in self.canvas.table.columns}
        return Edit(name, pixels, Change(gone, after), self._types())

    def _sizes(self, blocks: list[Box]) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels of every new nucleus, by its label, and how many of them are free."""
        size, free = np.zeros((2, self._count), np.int64)
        for box in blocks:
            labels = self._new_labels(box)
            nucleus = labels > 0
            found = labels[nucleus]
            size += np.bincount(found, minlength=self._count)
            found = found[~self._covered(box, self.canvas.labels(box))[nucleus]]
            free += np.bincount(found, minlength=self._count)
        return size, free

    def _cut_out(self, rows: Rows, cut: np.ndarray) -> None:
        """Measure new nuclei that lose pixels; of several parts, only the largest is left."""
        blocks = np.stack([rows["y0"], rows["x0"]]) // _BLOCK
        for block in np.unique(blocks[:, cut], axis=1).T:
            group = np.flatnonzero(cut & (blocks == block[:, None]).all(0))
            edges = _edges({name: values[group] for name, values in rows.items()})
            box = Box(*edges[:, :2].min(0).tolist(), *edges[:, 2:].max(0).tolist())
            chosen = np.zeros(self._count, bool)
            chosen[rows["label"][group]] = True
            labels = self._new_labels(box)
            covered = self._covered(box, self.canvas.labels(box))
            labels = np.where(chosen[labels] & ~covered, labels, 0)
            whole = _largest_parts(labels)
            crumbs = PixelChange.between(whole, labels, box.x0, box.y0)
            self._crumbs = PixelChange.joined([self._crumbs, crumbs])
            image = self.canvas.image(box)
            measured = measure(
                whole, image, self.canvas.mpp, (box.x0, box.y0), self.canvas.slide.white
            )
            for name, values in measured.items():
                column = rows.setdefault(str(name), np.full(len(cut), np.nan, np.float32))
                column[group] = values

    def _changes(self, box: Box, numbers: np.ndarray) -> PixelChange:
        """Return what changes in a block; `numbers` gives new nuclei their labels."""
        before = self.canvas.labels(box)
        covered = self._covered(box, before) | _mask(self._crumbs, box)
        after = np.where(covered, 0, numbers[self._new_labels(box)])
        after = np.where(self._stays[before], before, after)
        return PixelChange.between(before, after, box.x0, box.y0)

    def _covered(self, box: Box, before: np.ndarray) -> np.ndarray:
        """Return the bool pixels of a box that no new nucleus may take."""
        covered = self._stays[before] | (_mask(self.erased, box) & (before == 0))
        for region in self.canvas.notes.reviewed:
            part = Box(*region).grown(0, within=box)
            if part.width > 0 and part.height > 0:
                rows = slice(part.y0 - box.y0, part.y1 - box.y0)
                covered[rows, part.x0 - box.x0 : part.x1 - box.x0] = True
        return covered

    def _new_labels(self, box: Box) -> np.ndarray:
        return self.new.read_labels(box.x0, box.y0, box.width, box.height)

    def _column(self, rows: Rows, name: str) -> np.ndarray:
        """Return a column as the result has it; empty where the other one has none."""
        column = self.canvas.table.columns[name]
        values = rows.get(name, np.full(len(rows["label"]), "" if column.dtype == object else 0))
        return values.astype(column.dtype)

    def _types(self) -> Change[dict[str, str]] | None:
        """Return the types of both results, where the other one has more."""
        before = self.canvas.notes.types
        after = dict(before)
        for name, color in self.new.types.items():
            if name not in after:
                taken = color in after.values()
                after[name] = spare_color(name, after.values()) if taken else color
        return Change(before, after) if len(after) > len(before) else None


def _largest_parts(labels: np.ndarray) -> np.ndarray:
    """Return (H, W) labels of which only the largest connected part of each is left."""
    parts = np.asarray(connected_parts(labels, background=0, connectivity=1))
    size = np.bincount(parts.ravel())
    nucleus = np.zeros(len(size), labels.dtype)
    nucleus[parts] = labels
    order = np.lexsort((-size, nucleus))
    _, first = np.unique(nucleus[order], return_index=True)
    largest = np.zeros(len(size), bool)
    largest[order[first]] = True
    return np.where(largest[parts], labels, 0)


def _edges(rows: Rows) -> np.ndarray:
    """Return the boxes (N, 4) of nuclei: x0, y0, x1, y1."""
    return np.stack([rows[name] for name in ("x0", "y0", "x1", "y1")], axis=1).astype(np.int64)


def _blocks(edges: np.ndarray, extent: Box) -> list[Box]:
    """Return the blocks that hold boxes (N, 4), in raster order."""
    first, last = edges[:, :2] // _BLOCK, (edges[:, 2:] - 1) // _BLOCK
    corners = np.unique(np.hstack([first, last]), axis=0).tolist()
    places = {
        place
        for x0, y0, x1, y1 in corners
        for place in product(range(y0, y1 + 1), range(x0, x1 + 1))
    }
    whole = (Box(x, y, x + 1, y + 1) for y, x in sorted(places))
    return [
        Box(*(_BLOCK * edge for edge in (box.x0, box.y0, box.x1, box.y1))).grown(0, within=extent)
        for box in whole
    ]


def _mask(pixels: PixelChange, box: Box) -> np.ndarray:
    """Return the bool (height, width) pixels of a box that a change is about."""
    mask = np.zeros((box.height, box.width), np.int32)
    near = (pixels.y >= box.y0) & (pixels.y < box.y1)
    near &= (pixels.x < box.x1) & (pixels.x + pixels.length > box.x0)
    _some(pixels, near).draw(mask, box.x0, box.y0)
    return mask > 0


def _some(pixels: PixelChange, chosen: np.ndarray) -> PixelChange:
    """Return some runs of a change, drawn as ones."""
    y, x, length = (values[chosen] for values in (pixels.y, pixels.x, pixels.length))
    return PixelChange(y, x, length, np.zeros_like(y), np.ones_like(y))


def _no_pixels() -> PixelChange:
    return PixelChange.joined([])
