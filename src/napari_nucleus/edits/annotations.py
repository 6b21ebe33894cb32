"""Corrections of what is noted beside the nuclei: their types and what is reviewed.

Each returns the edit that makes it, and changes nothing itself.
"""

import re

from napari_nucleus.edits.canvas import Canvas
from napari_nucleus.errors import UserError
from napari_nucleus.nucleus_types import spare_color
from napari_nucleus.results.journal.edit import Change, Edit, Region
from napari_nucleus.slides.tiles import Box


def add_type(canvas: Canvas, name: str, color: str | None = None) -> Edit:
    """Add a type after the others, in a colour of its own if none is given.

    Parameters
    ----------
    canvas : Canvas
        The result.
    name : str
        Its name.
    color : str or None
        ``"#rrggbb"``.

    Raises
    ------
    UserError
        If the name is empty or taken, or the colour is none.
    """
    types = canvas.notes.types
    name = _new_name(canvas, name)
    color = _color(color) if color else spare_color(name, types.values())
    return Edit("add type", types=Change(types, {**types, name: color}))


def rename_type(canvas: Canvas, name: str, new: str) -> Edit:
    """Rename a type; its nuclei keep it.

    Parameters
    ----------
    canvas : Canvas
        The result.
    name, new : str
        Its name, and the new one.

    Raises
    ------
    UserError
        If there is no such type, or the new name is empty or taken.
    """
    _check_type(canvas, name)
    new = _new_name(canvas, new)
    renamed = {new if old == name else old: color for old, color in canvas.notes.types.items()}
    return Edit("rename type", types=Change(canvas.notes.types, renamed), renamed=Change(name, new))


def recolor_type(canvas: Canvas, name: str, color: str) -> Edit:
    """Give a type another colour, ``"#rrggbb"``.

    Parameters
    ----------
    canvas : Canvas
        The result.
    name : str
        Its name.
    color : str
        ``"#rrggbb"``.

    Raises
    ------
    UserError
        If there is no such type, or the colour is none.
    """
    _check_type(canvas, name)
    types = canvas.notes.types
    return Edit("recolour type", types=Change(types, {**types, name: _color(color)}))


def remove_type(canvas: Canvas, name: str) -> Edit:
    """Remove a type that no nucleus has.

    Parameters
    ----------
    canvas : Canvas
        The result.
    name : str
        Its name.

    Raises
    ------
    UserError
        If there is no such type, nuclei still have it, or it is the last one.
    """
    _check_type(canvas, name)
    if count := canvas.state.counts()[name]:
        nuclei = "1 nucleus is" if count == 1 else f"{count:,} nuclei are"
        raise UserError(f"{nuclei} still {name}: give them another class first, or rename it.")
    types = canvas.notes.types
    left = {other: color for other, color in types.items() if other != name}
    if not left:
        raise UserError(f"{name} is the last class: rename it, or add another first.")
    return Edit("remove type", types=Change(types, left))


def mark_reviewed(canvas: Canvas, region: Region) -> Edit:
    """Mark a region as one in which every nucleus has been seen.

    It replaces earlier ones that lie within it.

    Parameters
    ----------
    canvas : Canvas
        The result.
    region : Region
        (x0, y0, x1, y1) in level-0 pixels; what lies outside of the image is cut off.

    Raises
    ------
    UserError
        If nothing is left of it, or it lies within one that is marked.
    """
    box = Box(*region).grown(0, within=canvas.extent)
    if box.width < 1 or box.height < 1:
        raise UserError("The region lies outside the image: draw it on the image.")
    marked = canvas.notes.reviewed
    if any(box.grown(0, within=Box(*other)) == box for other in marked):
        raise UserError("This region is already marked as reviewed.")
    left = [other for other in marked if Box(*other).grown(0, within=box) != Box(*other)]
    new = (box.x0, box.y0, box.x1, box.y1)
    return Edit("mark as reviewed", reviewed=Change(marked, [*left, new]))


def unmark_reviewed(canvas: Canvas, x: float, y: float) -> Edit:
    """Take the mark off the region at a point, of several off the one marked last.

    Parameters
    ----------
    canvas : Canvas
        The result.
    x, y : float
        The point, in level-0 pixels.

    Raises
    ------
    UserError
        If there is none.
    """
    marked = canvas.notes.reviewed
    for index in reversed(range(len(marked))):
        x0, y0, x1, y1 = marked[index]
        if x0 <= x < x1 and y0 <= y < y1:
            left = marked[:index] + marked[index + 1 :]
            return Edit("unmark as reviewed", reviewed=Change(marked, left))
    raise UserError("No reviewed region there: click inside one.")


def _check_type(canvas: Canvas, name: str) -> None:
    if name not in canvas.notes.types:
        raise UserError(
            f"There is no class {name!r}: choose one of {', '.join(canvas.notes.types)}."
        )


def _new_name(canvas: Canvas, name: str) -> str:
    name = name.strip()
    if not name:
        raise UserError("A class needs a name.")
    if name in canvas.notes.types:
        raise UserError(f"Class {name!r} already exists: choose another name.")
    return name


def _color(color: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", color):
        raise UserError(f"Invalid colour {color!r}: use #rrggbb, such as #3cb44b.")
    return color.lower()
