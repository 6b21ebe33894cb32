"""Nucleus types: the index of an unknown one, and colours that are the same everywhere."""

import itertools
from collections.abc import Collection, Iterable

UNKNOWN = 255
"""Type index of a nucleus whose type nobody annotated."""


UNTYPED = "nucleus"
"""Type name of nuclei from a model that has no types."""

# With red-green blindness (protanopia, deuteranopia) hues are lost, so these and the spare colours
# below differ in lightness and blueness as well: CIEDE2000 of 16 or more between any two of them.
# Malignancy is red and inflammation green, as in QuPath.
_KNOWN = {
    UNTYPED: "#2fbaff",
    "malignant_epithelial": "#f4150e",
    "normal_epithelial": "#1978ff",
    "inflammatory": "#0ba07b",
    "spindle": "#f5d818",
    "miscellaneous": "#4a0d85",
}

_PALETTE = ("#6bffca", "#1f6562", "#4c170c", *_KNOWN.values())
"""Colours for other types, in this order."""


def type_colors(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for every type.

    Parameters
    ----------
    names : iterable of str
        Type names in the model's order, without background.

    Returns
    -------
    dict
        Name to ``"#rrggbb"``, in the order given.

    Examples
    --------
    >>> type_colors(["inflammatory", "mitosis"])
    {'inflammatory': '#0ba07b', 'mitosis': '#6bffca'}
    """
    names = list(names)
    taken = {_KNOWN[name] for name in names if name in _KNOWN}
    spare = itertools.cycle(color for color in _PALETTE if color not in taken)
    return {name: _KNOWN[name] if name in _KNOWN else next(spare) for name in names}


def spare_color(name: str, taken: Collection[str]) -> str:
    """Return a colour for a type that is added to others.

    Parameters
    ----------
    name : str
        Of the type; one that is known has its own colour.
    taken : collection of str
        Colours ``"#rrggbb"`` of the others, not to be used again while there are more.

    Examples
    --------
    >>> spare_color("mitosis", ["#6bffca"])
    '#1f6562'
    """
    choice = [_KNOWN[name]] if name in _KNOWN else []
    choice += _PALETTE
    return next((color for color in choice if color not in taken), choice[0])
