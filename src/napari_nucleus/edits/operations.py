"""Corrections of nuclei: each returns the edit that makes it, and changes nothing itself."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_nucleus.edits.canvas import Canvas, Points
from napari_nucleus.edits.shapes import Mask, free_part, join_masks, part_mask
from napari_nucleus.errors import UserError
from napari_nucleus.measure import measure
from napari_nucleus.results.journal.edit import Change, Edit
from napari_nucleus.results.journal.pixels import PixelChange
from napari_nucleus.results.journal.retyped import Retyped
from napari_nucleus.results.journal.rows import Rows
from napari_nucleus.results.regions import region_names
from napari_nucleus.slides.tiles import Box

# The widest gap that merging fills: a third of a small nucleus.
_GAP_UM = 2.0
_GAP_PX = 8.0  # where µm/px is not known: as much on a 40x scan

# Side of the largest box, in pixels, in which nuclei may lie that become one.
_LARGEST = 4096


def split(canvas: Canvas, line: Points) -> Edit:
    """Part every nucleus that a line crosses; the largest piece keeps the label.

    Parameters
    ----------
    canvas : Canvas
        The result.
    line : Points
        Its corners.

    Raises
    ------
    UserError
        If the line goes all the way through none.
    """
    parts = []
    examples: list[int] = []
    first = canvas.notes.next_label
    for label in canvas.along(line):
        box = canvas.around(np.array([label]))
        before = canvas.labels(box)
        mask = before == label
        pieces = part_mask(mask, [(x - box.x0, y - box.y0) for x, y in line])
        count = int(pieces.max())
        if count < 2:
            continue
        new = np.arange(first, first + count - 1)
        after = np.where(mask, np.r_[0, label, new][pieces], before)
        parts.append(_reshaped(canvas, box, before, after, parents=dict.fromkeys(new, label)))
        if label in canvas.notes.examples:
            examples += new.tolist()
        first += count - 1
    if not parts:
        raise UserError("The line splits no nucleus: draw it across one, from side to side.")
    pixels, rows = zip(*parts, strict=True)
    return Edit(
        "split",
        PixelChange.joined(pixels),
        Change(_stacked([change.before for change in rows]), _stacked([c.after for c in rows])),
        examples=Change([], examples) if examples else None,
    )


def merge(canvas: Canvas, labels: Iterable[int]) -> Edit:
    """Make one nucleus of several, with label and type of the largest; small gaps are filled.

    Parameters
    ----------
    canvas : Canvas
        The result.
    labels : iterable of int
        The nuclei.

    Raises
    ------
    UserError
        If there are not at least two, or they are too far apart.
    """
    chosen = canvas.chosen(labels)
    if len(chosen) < 2:
        raise UserError("Choose at least two nuclei to merge.")
    reach = _GAP_PX if canvas.mpp is None else _GAP_UM / canvas.mpp
    box = canvas.around(chosen)
    if max(box.width, box.height) > _LARGEST:
        raise UserError("These nuclei do not touch: choose others.")
    box = box.grown(int(np.ceil(reach)), within=canvas.extent)
    before = canvas.labels(box)
    order = sorted(chosen.tolist(), key=lambda label: -np.count_nonzero(before == label))
    after = np.where(join_masks(before, order, reach), order[0], before)
    return Edit("merge", *_reshaped(canvas, box, before, after))


def delete(canvas: Canvas, labels: Iterable[int]) -> Edit:
    """Remove nuclei.

    Parameters
    ----------
    canvas : Canvas
        The result.
    labels : iterable of int
        The nuclei.

    Raises
    ------
    UserError
        If there are none, or no such nuclei.
    """
    chosen = canvas.chosen(labels)
    rows = canvas.table.rows(chosen)
    return Edit("delete", canvas.erased(chosen), Change(rows, _none_of(rows)))


def add(canvas: Canvas, mask: Mask, x: int, y: int, type_name: str) -> Edit:
    """Add a nucleus where no other is.

    Parameters
    ----------
    canvas : Canvas
        The result.
    mask : Mask
        Bool (H, W), the nucleus; what lies outside of the image or in another nucleus is left
        out, and only the largest part that remains is taken.
    x, y : int
        Its first pixel on level 0.
    type_name : str
        Its type.

    Raises
    ------
    UserError
        If another nucleus lies there, or there is no such type.
    """
    _check_type(canvas, type_name)
    height, width = mask.shape
    box = Box(x, y, x + width, y + height).grown(0, within=canvas.extent)
    if box.width < 1 or box.height < 1:
        raise UserError("The point lies outside the image: click on the image.")
    mask = mask[box.y0 - y : box.y1 - y, box.x0 - x : box.x1 - x]
    before = canvas.labels(box)
    after = np.where(free_part(before, mask), canvas.notes.next_label, before)
    pixels, rows = _reshaped(canvas, box, before, after, type_name=type_name)
    return Edit("add", pixels, rows, examples=_new_examples(rows))


def paint(canvas: Canvas, x: int, y: int, labels: np.ndarray, type_name: str) -> Edit | None:
    """Take in labels that were painted, erased or filled with other tools.

    Parameters
    ----------
    canvas : Canvas
        The result.
    x, y : int
        Their first pixel on level 0.
    labels : (H, W) ndarray of int
        0 = background, as they are now. A number that was not among them is
        a new nucleus, unless it is that of one which lies right beside.
    type_name : str
        Type of new nuclei.

    Returns
    -------
    Edit or None
        None where nothing differs.

    Raises
    ------
    UserError
        If there is no such type.
    IndexError
        If the labels leave the image.
    """
    _check_type(canvas, type_name)
    height, width = labels.shape
    before = canvas.labels(Box(x, y, x + width, y + height))
    pixels = PixelChange.between(before, labels, x, y)
    if not len(pixels):
        return None
    box = pixels.box
    part = _within(box, Box(x, y, x + width, y + height))
    painted = _numbered(canvas, box, before, labels[part])
    changed = before[part] != painted
    touched = np.union1d(before[part][changed], painted[changed])
    touched = touched[canvas.table.known(touched)]
    whole = box.union(canvas.around(touched)) if len(touched) else box
    old = canvas.labels(whole)
    new = old.copy()
    new[_within(box, whole)] = painted
    pixels, rows = _reshaped(canvas, whole, old, new, type_name=type_name)
    return Edit("paint", pixels, rows, examples=_new_examples(rows))


def reclassify(canvas: Canvas, labels: Iterable[int], type_name: str) -> Edit:
    """Give nuclei a type, of which a person is sure.

    Parameters
    ----------
    canvas : Canvas
        The result.
    labels : iterable of int
        The nuclei.
    type_name : str
        Their new type.

    Raises
    ------
    UserError
        If there is no such type.
    """
    _check_type(canvas, type_name)
    chosen = canvas.chosen(labels)
    before = canvas.table.rows(chosen, ("label", "type", "type_prob", "edited"))
    after = {
        "label": chosen,
        "type": np.full(len(chosen), type_name, object),
        "type_prob": np.ones(len(chosen)),
        "edited": np.ones(len(chosen), bool),
    }
    known = sorted(canvas.notes.examples.intersection(chosen.tolist()))
    return Edit("reclassify", rows=Change(before, after), examples=Change(known, chosen.tolist()))


def retype(
    canvas: Canvas,
    labels: NDArray[np.integer],
    names: NDArray[np.object_],
    probabilities: NDArray[np.floating],
    colors: Mapping[str, str],
) -> Edit | None:
    """Give nuclei the types that a classifier has found; those that a person has typed keep theirs.

    Parameters
    ----------
    canvas : Canvas
        The result.
    labels : (N,) ndarray of int
        The nuclei, ascending; those that are gone are left out.
    names : (N,) ndarray of object
        Their types.
    probabilities : (N,) ndarray of float
        Probability of each type.
    colors : mapping of str to str
        Name and colour ``"#rrggbb"`` of all types of the classifier; a type that is there already
        keeps its colour. Other types that no nucleus has any more are dropped.

    Returns
    -------
    Edit or None
        None where nothing differs.
    """
    free = canvas.table.known(labels) & ~np.isin(labels, list(canvas.notes.examples))
    rows = canvas.table.rows(labels[free], ("type", "type_prob"))
    types, prob = names[free], probabilities[free].astype(np.float32)
    kept = set(canvas.table.columns["type"][~np.isin(canvas.table.labels, labels[free])])
    before = canvas.notes.types
    chosen = {name: before.get(name, color) for name, color in colors.items()}
    after = {**chosen, **{name: color for name, color in before.items() if name in kept}}
    changed = (types != rows["type"]) | (prob != rows["type_prob"])
    if not changed.any() and after == before:
        return None
    codes, known = pd.factorize(np.concatenate([rows["type"][changed], types[changed]]))
    old, new = np.split(codes.astype(np.uint16), 2)
    retyped = Retyped(
        labels[free][changed].astype(np.int32),
        tuple(known),
        old,
        new,
        rows["type_prob"][changed].astype(np.float32),
        prob[changed],
    )
    return Edit("classify", types=Change(before, after), retyped=retyped)


def accept(canvas: Canvas, labels: Iterable[int]) -> Edit | None:
    """Mark nuclei as checked and right; None where they are already.

    Parameters
    ----------
    canvas : Canvas
        The result.
    labels : iterable of int
        Nuclei that are right as they are.

    Raises
    ------
    UserError
        If there are none, or no such nuclei.
    """
    new = sorted(set(canvas.chosen(labels).tolist()) - canvas.notes.checked)
    return Edit("accept", checked=Change([], new)) if new else None


def _reshaped(
    canvas: Canvas,
    box: Box,
    before: np.ndarray,
    after: np.ndarray,
    parents: Mapping[int, int] | None = None,
    type_name: str = "",
) -> tuple[PixelChange, Change[Rows]]:
    """Return what changes in labels and table.

    Parameters
    ----------
    canvas : Canvas
        The result.
    box : Box
        Box that holds every nucleus which differs.
    before, after : (H, W) ndarray of int32
        Its labels.
    parents : mapping of int to int or None
        New label to that of the nucleus whose type it inherits.
    type_name : str
        Type of other new nuclei.
    """
    changed = before != after
    touched = np.union1d(before[changed], after[changed])
    touched = touched[touched > 0]
    shown = np.where(np.isin(after, touched), after, 0)
    measured = measure(shown, canvas.image(box), canvas.mpp, (box.x0, box.y0), canvas.slide.white)
    rows: Rows = {str(name): values.to_numpy() for name, values in measured.items()}
    labels = rows["label"]
    source = np.array([(parents or {}).get(label, label) for label in labels.tolist()], np.int64)
    known = canvas.table.known(source)
    inherited = canvas.table.rows(source[known], ("type", "type_prob", "region"))
    rows["type"] = np.full(len(labels), type_name, object)
    rows["type_prob"] = np.ones(len(labels))
    rows["region"] = region_names(canvas.regions, rows["centroid_x"], rows["centroid_y"])
    for name, values in inherited.items():
        rows[name][known] = values
    rows["edited"] = np.ones(len(labels), bool)
    gone = canvas.table.rows(touched[canvas.table.known(touched)])
    return PixelChange.between(before, after, box.x0, box.y0), Change(gone, rows)


def _numbered(canvas: Canvas, box: Box, before: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Return painted int32 labels in which new nuclei have labels of their own.

    `before` is all that was given, `painted` what lies in the box around all differences.
    """
    next_label = canvas.notes.next_label
    labels = painted.copy()
    for label in np.setdiff1d(painted, before).tolist():
        mask = painted == label
        around = PixelChange.between(np.zeros_like(mask), mask, box.x0, box.y0).box
        if label and not _reaches(canvas, label, around):
            labels[mask] = next_label
            next_label += 1
    return labels.astype(np.int32)


def _reaches(canvas: Canvas, label: int, box: Box) -> bool:
    """Tell whether there is such a nucleus and its box touches another."""
    labels = np.array([label])
    if not canvas.table.known(labels).all():
        return False
    shared = canvas.around(labels).grown(1, within=canvas.extent).grown(0, within=box)
    return shared.width > 0 and shared.height > 0


def _check_type(canvas: Canvas, type_name: str) -> None:
    if type_name not in canvas.notes.types:
        raise UserError(f"There is no class {type_name!r}: add it first.")


def _within(box: Box, whole: Box) -> tuple[slice, slice]:
    """Return where a box lies in an array of a box around it."""
    return (
        slice(box.y0 - whole.y0, box.y1 - whole.y0),
        slice(box.x0 - whole.x0, box.x1 - whole.x0),
    )


def _new_examples(rows: Change[Rows]) -> Change[list[int]] | None:
    """Return the nuclei that came, as the type of each was chosen for it."""
    new = np.setdiff1d(rows.after["label"], rows.before["label"])
    return Change([], new.tolist()) if len(new) else None


def _stacked(parts: list[Rows]) -> Rows:
    """Return rows of different nuclei together, in ascending order of their labels."""
    order = np.argsort(np.concatenate([rows["label"] for rows in parts]))
    return {name: np.concatenate([rows[name] for rows in parts])[order] for name in parts[0]}


def _none_of(rows: Rows) -> Rows:
    return {name: values[:0] for name, values in rows.items()}
