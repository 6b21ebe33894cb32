"""Colours of nuclei by their types, for any number of nuclei."""

from collections.abc import Collection, Mapping
from typing import Any, Self

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
from pydantic import PrivateAttr

# Of a label without a type, such as one that is being painted.
_UNTYPED = "#ffffff"
# Of nuclei that are selected in the table: that of no type.
_SELECTED = "#ffffff"


class NucleusColormap(CyclicLabelColormap):
    """Colours of labels by the number of their type, looked up in an array.

    napari's own map from labels to colours takes five microseconds per label, and without Numba no
    label above 65,536.
    """

    # Number of the type of every label, from 1 on; 0 has none. The last one is that of all above.
    _numbers: np.ndarray = PrivateAttr(default_factory=lambda: np.zeros(1, np.uint8))
    # Place in `colors` of every number.
    _places: np.ndarray = PrivateAttr(default_factory=lambda: np.zeros(1, np.uint8))
    _selected: np.ndarray = PrivateAttr(default_factory=lambda: np.zeros(0, np.int64))
    _lookup: np.ndarray = PrivateAttr(default_factory=lambda: np.zeros(1, np.uint8))

    @classmethod
    def of(
        cls,
        numbers: np.ndarray,
        types: Mapping[str, str],
        hidden: Collection[str] = (),
        selected: np.ndarray | None = None,
    ) -> Self:
        """Return the colours of nuclei.

        Parameters
        ----------
        numbers : (N,) ndarray of uint8
            For each label from 0 on, the number of its type in the order of `types`, from 1 on; 0
            where there is none.
        types : mapping of str to str
            Name to colour ``"#rrggbb"``.
        hidden : collection of str
            Names of types whose nuclei are not drawn.
        selected : ndarray or None
            Labels (N,) drawn as selected.
        """
        colors = cls(colors=["#00000000", *types.values(), _UNTYPED, _SELECTED])
        last = len(types) + 1
        colors._places = np.array(
            [last, *(0 if name in hidden else place for place, name in enumerate(types, 1))],
            np.uint8,
        )
        colors._numbers = np.append(numbers, np.uint8(0))
        if selected is not None:
            colors._selected = selected
        colors._look_up()
        return colors

    @property
    def numbers(self) -> np.ndarray:
        """Number of the type of every label, from 1 on, uint8; 0 has none."""
        return self._numbers[:-1]

    @property
    def selected(self) -> np.ndarray:
        """Labels (N,) drawn as selected."""
        return self._selected

    def renumber(self, labels: np.ndarray, numbers: np.ndarray) -> None:
        """Give labels other types; draws nothing.

        Parameters
        ----------
        labels : (N,) ndarray of int
            The labels.
        numbers : (N,) ndarray of uint8
            The numbers of their types.
        """
        missing = int(labels.max(initial=0)) + 2 - len(self._numbers)
        if missing > 0:
            self._numbers = np.pad(self._numbers, (0, missing + len(self._numbers) // 8))
            self._look_up()
        self._numbers[labels] = numbers
        self._lookup[labels] = self._places[numbers]
        self._select()

    def replace(self, other: Self) -> None:
        """Take over the numbers and the selection of another; draws nothing.

        Parameters
        ----------
        other : NucleusColormap
            Of the same types.
        """
        self._numbers = other._numbers
        self._selected = other._selected
        self._look_up()

    def map(self, values: Any) -> np.ndarray:
        """Return the RGBA colours of labels."""
        return super().map(self._data_to_texture(np.asarray(values)))

    def _data_to_texture(self, values: Any) -> Any:
        return self._lookup.take(values, mode="clip")

    def _look_up(self) -> None:
        self._lookup = self._places[self._numbers]
        self._lookup[0] = 0
        self._select()

    def _select(self) -> None:
        known = self._selected[self._selected < len(self._lookup)]
        self._lookup[known] = len(self.colors) - 1


def class_colors(types: Mapping[str, str], hidden: Collection[str] = ()) -> DirectLabelColormap:
    """Return the colours of a `classes` layer.

    Parameters
    ----------
    types : mapping of str to str
        Name to colour ``"#rrggbb"``.
    hidden : collection of str
        Names of types that are not drawn.
    """
    colors: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    for number, (name, color) in enumerate(types.items(), 1):
        colors[number] = "transparent" if name in hidden else color
    return DirectLabelColormap(color_dict=colors)


def hidden_types(layer: Labels) -> list[str]:
    """Return the names of the types that a layer of a result does not draw."""
    return list(layer.metadata.get("hidden", ()))


def selected_nuclei(layer: Labels) -> np.ndarray:
    """Return the labels that a `nuclei` layer draws as selected."""
    colors = layer.colormap
    return colors.selected if isinstance(colors, NucleusColormap) else np.zeros(0, np.int64)


def color_nuclei(layer: Labels, numbers: np.ndarray, types: Mapping[str, str]) -> None:
    """Colour a `nuclei` layer by types; what is hidden or selected stays so.

    Parameters
    ----------
    layer : Labels
        The layer.
    numbers : (N,) ndarray of uint8
        As `NucleusColormap.of`.
    types : mapping of str to str
        Name to colour ``"#rrggbb"``.
    """
    selected = selected_nuclei(layer)
    layer.colormap = NucleusColormap.of(numbers, types, hidden_types(layer), selected)
