"""The layers in which nuclei are corrected."""

from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels

from napari_nucleus.edits import operations
from napari_nucleus.edits.session import Changed, EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.shared.layers import (
    PAINTABLE,
    class_names,
    features_of,
    placement_of,
    result_of,
)
from napari_nucleus.widgets.shared.nucleus_colors import (
    NucleusColormap,
    class_colors,
    color_nuclei,
    hidden_types,
)

# Nuclei centred so far outside of a region may reach into it, in pixels.
_REACH = 256

# Nuclei up to which a correction is followed one by one.
_MANY = 20_000

# Rows that are compared at once: as many as stay in the processor's cache.
_BAND = 64


class EditingLayers:
    """Two labels layers in memory, nuclei and their classes, that show a part of a result.

    Attributes
    ----------
    nuclei : Labels
        The labels; napari paints in it.
    classes : Labels
        The number of the type of every pixel, from 1 on.
    whole : Labels
        A layer in the coordinates of the whole result: `nuclei` itself where it shows all of it.
    box : Box
        What part of the result they show, in level-0 pixels.

    Parameters
    ----------
    session : EditSession
        The result.
    nuclei, classes : Labels
        Layers whose data are arrays of the size of `box`. What `nuclei` holds stays; what in it the
        session does not know can be taken in.
    whole : Labels
        See above.
    box : Box
        Where they lie in the result.
    """

    def __init__(
        self, session: EditSession, nuclei: Labels, classes: Labels, whole: Labels, box: Box
    ) -> None:
        self.nuclei = nuclei
        self.classes = classes
        self.whole = whole
        self.box = box
        self._session = session
        self._writing = False
        self._load()

    @property
    def ours(self) -> bool:
        """Whether the layer still shows this result."""
        return result_of(self.nuclei) == self._session.path

    @property
    def all_there(self) -> bool:
        """Whether they show the whole result."""
        return self.whole is self.nuclei

    @property
    def known(self) -> np.ndarray:
        """The labels that the session knows, int32."""
        return self._shown

    def to_pixel(self, world: Any) -> tuple[float, float]:
        """Return a point in world coordinates as (x, y) in level-0 pixels."""
        y, x = self.whole.world_to_data(world)[-2:]
        return float(x), float(y)

    def label_at(self, x: float, y: float) -> int:
        """Return the label at a point in level-0 pixels, 0 where no nucleus is."""
        column, row = round(x) - self.box.x0, round(y) - self.box.y0
        inside = 0 <= column < self.box.width and 0 <= row < self.box.height
        return int(self.nuclei.data[row, column]) if inside else 0

    def take_in(self, type_name: str) -> None:
        """Make what was painted, or changed by anyone else, part of the result.

        Parameters
        ----------
        type_name : str
            Type of new nuclei.

        Raises
        ------
        UserError
            If the labels were replaced by others that do not fit, or cannot be written.
        """
        if self._writing or not self.ours or self._session.read_only:
            return
        data = self.nuclei.data
        if not isinstance(data, np.ndarray) or data.shape != self._shown.shape:
            self.restore()
            raise UserError("The new labels do not fit the image: the previous ones were restored.")
        bands = (slice(top, top + _BAND) for top in range(0, len(data), _BAND))
        changed = [band for band in bands if not np.array_equal(data[band], self._shown[band])]
        if not changed:
            return
        first, end = changed[0].start, changed[-1].stop
        differs = data[first:end] != self._shown[first:end]
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        top, left = first + int(rows[0]), int(columns[0])
        part = data[top : first + rows[-1] + 1, left : columns[-1] + 1]
        x, y = left + self.box.x0, top + self.box.y0
        selected = np.argwhere(part == self.nuclei.selected_label)
        self._session.apply(operations.paint, x, y, part, type_name)
        if len(selected):  # a new nucleus may have got another label
            row, column = selected[0].tolist()
            label = self._session.read_labels(x + column, y + row, 1, 1)
            self.nuclei.selected_label = label.item()

    def restore(self) -> None:
        """Show again what the session knows."""
        self._writing = True
        self.nuclei.data = self._shown.copy()
        self._writing = False

    def update(self, changed: Changed) -> None:
        """Follow a correction, and redraw no more than that."""
        # Any number of nuclei have another name or colour, or most of them lie elsewhere.
        if changed.types or len(changed.labels) > _MANY:
            self._load()
        elif len(changed.labels):
            rows = self._session.rows(changed.labels)
            self._number(rows)
            if isinstance(colors := self.nuclei.colormap, NucleusColormap):
                colors.renumber(changed.labels, self._numbers[changed.labels])
            self._rows.update(changed.labels, rows)
        if changed.box is not None:
            self._redraw(changed.box.grown(0, within=self.box))

    def toggle(self) -> None:
        """Hide the nuclei, so that the tissue alone is seen, or show them again."""
        visible = not self.nuclei.visible
        for layer in (self.classes, self.nuclei):
            layer.visible = visible

    def move(self, box: Box) -> None:
        """Show another part of a large result.

        Raises
        ------
        UserError
            If it is too large to be painted in.
        """
        _check_size(box)
        self._writing = True
        self.box = box
        self.nuclei.data = self._session.read_labels(box.x0, box.y0, box.width, box.height)
        self.classes.data = np.zeros((box.height, box.width), np.uint8)
        for layer in (self.nuclei, self.classes):
            layer.translate = translation(self.whole, box)
        self._writing = False
        self._load()

    def _load(self) -> None:
        box = self.box
        self._shown = self._session.read_labels(box.x0, box.y0, box.width, box.height)
        x0, y0, x1, y1 = box.x0 - _REACH, box.y0 - _REACH, box.x1 + _REACH, box.y1 + _REACH
        near = self._session.canvas.inside([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
        rows = self._session.rows(near)
        self._rows = FeatureRows(self.nuclei, rows)
        self._numbers = np.zeros(self._session.next_label, np.uint8)
        self._number(rows)
        types = self._session.types
        color_nuclei(self.nuclei, self._numbers, types)
        self.classes.colormap = class_colors(types, hidden_types(self.classes))
        self.classes.features = class_names(types)
        self.classes.data[:] = self._numbers[self._shown]
        self.classes.refresh(thumbnail=False, highlight=False, extent=False)

    def _number(self, rows: pd.DataFrame) -> None:
        """Note the number of the type of nuclei."""
        missing = self._session.next_label - len(self._numbers)
        if missing > 0:
            self._numbers = np.pad(self._numbers, (0, missing + len(self._numbers) // 8))
        numbers = {name: number for number, name in enumerate(self._session.types, 1)}
        self._numbers[rows["label"].to_numpy()] = rows["type"].map(numbers).to_numpy()

    def _redraw(self, box: Box) -> None:
        if box.width < 1 or box.height < 1:
            return
        top, left = box.y0 - self.box.y0, box.x0 - self.box.x0
        part = slice(top, top + box.height), slice(left, left + box.width)
        labels = self._session.read_labels(box.x0, box.y0, box.width, box.height)
        self._shown[part] = labels
        numbers = self._numbers[labels]
        recolored = (self.nuclei.data[part] == labels) & (self.classes.data[part] != numbers)
        self._writing = True
        # napari redraws no pixel whose label stays, whatever its colour.
        rows, columns = np.nonzero(recolored)
        self.nuclei.data_setitem((rows + top, columns + left), 0, refresh=False)
        for layer, values in ((self.nuclei, labels), (self.classes, numbers)):
            rows, columns = np.nonzero(layer.data[part] != values)
            # Draws just there: to find all outlines of a large region anew takes 0.2 s.
            layer.data_setitem((rows + top, columns + left), values[rows, columns])
        self._writing = False


def layers_over(session: EditSession, nuclei: Labels, classes: Labels, box: Box) -> EditingLayers:
    """Return layers over a part of a large result, in which it can be corrected.

    Parameters
    ----------
    session : EditSession
        The result.
    nuclei, classes : Labels
        The layers that show all of it.
    box : Box
        The part, in level-0 pixels.

    Raises
    ------
    UserError
        If it is too large to be painted in.
    """
    _check_size(box)
    labels = session.read_labels(box.x0, box.y0, box.width, box.height)
    parts = []
    for whole, data in ((nuclei, labels), (classes, np.zeros(labels.shape, np.uint8))):
        placement = {**placement_of(whole), "translate": translation(whole, box)}
        shows = f"{whole.metadata['shows']} of a region"
        part = Labels(
            data,
            name=f"{whole.name} (region)",
            colormap=whole.colormap,
            opacity=whole.opacity,
            metadata={**whole.metadata, "shows": shows},
            **placement,
        )
        part.contour = whole.contour
        parts.append(part)
    return EditingLayers(session, parts[0], parts[1], nuclei, box)


def translation(whole: Labels, box: Box) -> np.ndarray:
    """Return the `translate` with which a layer that holds a box of another lies upon it."""
    shift = np.subtract(whole.data_to_world((box.y0, box.x0)), whole.data_to_world((0, 0)))
    # That is beyond the layer's affine transform, which comes after its `translate`.
    return whole.translate + np.linalg.solve(whole.affine.linear_matrix, shift)


def _check_size(box: Box) -> None:
    if box.width * box.height > PAINTABLE:
        raise UserError(
            f"{box.width:,} × {box.height:,} pixels are too many to correct at once: zoom in, or "
            "draw a smaller shape."
        )


class FeatureRows:
    """Some nuclei as the features of a labels layer, in ascending order of their labels.

    Parameters
    ----------
    layer : Labels
        The layer.
    rows : DataFrame
        The nuclei, with the column `label`.
    """

    def __init__(self, layer: Labels, rows: pd.DataFrame) -> None:
        self._layer = layer
        self._fill(rows)

    def update(self, labels: np.ndarray, rows: pd.DataFrame) -> None:
        """Follow a correction.

        Parameters
        ----------
        labels : ndarray
            Nuclei that came, went or changed.
        rows : DataFrame
            Those of them that there are.
        """
        table = self._layer.features
        known = table["index"].to_numpy()
        there = rows["label"].to_numpy()
        if np.array_equal(labels[np.isin(labels, known)], there):
            # In place: to give napari the table of 100,000 nuclei anew takes it 20 ms.
            lines = np.searchsorted(known, there)
            for name, values in rows.items():
                if not values.equals(table[name].iloc[lines].set_axis(values.index)):
                    table.iloc[lines, table.columns.get_loc(name)] = values.to_numpy()
            self._layer.events.features()
        else:
            kept = table[~np.isin(known, labels)].drop(columns="index")
            together = pd.concat([kept, rows]) if len(kept) else rows
            self._fill(together.sort_values("label", ignore_index=True))

    def _fill(self, rows: pd.DataFrame) -> None:
        self._layer.features = features_of(rows)
