"""Nucleus types: the index of an unknown one, and colours that are the same everywhere."""

import itertools
from collections.abc import Collection, Iterable

UNKNOWN = 255
"""Type index of a nucleus whose type nobody annotated."""


UNTYPED = "nucleus"
"""Type name of nuclei from a model that has no types."""

# Types of the data sets that the papers use; inflammation green, malignancy red, as QuPath users
# know them.
_KNOWN = {
    UNTYPED: "#2ec4ff",
    "malignant_epithelial": "#e6194b",
    "normal_epithelial": "#4363d8",
    "inflammatory": "#3cb44b",
    "spindle": "#ffb000",
    "miscellaneous": "#b15dff",
}

# Okabe & Ito (2008), told apart with colour-blind eyes; without black, which is drawn as nothing.
_CYCLE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)


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
    {'inflammatory': '#3cb44b', 'mitosis': '#e69f00'}
    """
    cycle = itertools.cycle(_CYCLE)
    return {name: _KNOWN.get(name) or next(cycle) for name in names}


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
    >>> spare_color("mitosis", ["#e69f00"])
    '#56b4e9'
    """
    choice = [_KNOWN[name]] if name in _KNOWN else []
    choice += _CYCLE
    return next((color for color in choice if color not in taken), choice[0])
