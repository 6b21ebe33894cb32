import numpy as np
from napari.layers import Labels

from napari_nucleus.widgets.shared.nucleus_colors import NucleusColormap, class_colors

TYPES = {"dark": "#ff0000", "pale": "#0000ff"}

RED, BLUE, WHITE = [1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]
NOTHING = [0, 0, 0, 0]


def test_labels_have_the_colours_of_their_types() -> None:
    """Also those above 65,536, which napari's own map does not take without Numba."""
    numbers = np.zeros(100_001, np.uint8)
    numbers[[1, 2, 70_000, 100_000]] = [1, 2, 2, 1]
    layer = Labels(np.array([[0, 1, 2], [70_000, 100_000, 5]], np.int32))
    layer.colormap = NucleusColormap.of(numbers, TYPES)
    np.testing.assert_array_equal(
        layer.colormap.map(layer.data), [[NOTHING, RED, BLUE], [BLUE, RED, WHITE]]
    )
    assert layer.get_color(70_000).tolist() == BLUE
    assert layer.colormap.map(np.array([200_000])).tolist() == [WHITE]  # being painted


def test_types_are_hidden_and_nuclei_selected() -> None:
    numbers = np.array([0, 1, 2, 1], np.uint8)
    colors = NucleusColormap.of(numbers, TYPES, ["dark"], np.array([2, 10]))
    assert colors.map(np.arange(4)).tolist() == [NOTHING, NOTHING, WHITE, NOTHING]
    shown = class_colors(TYPES, ["dark"]).map(np.arange(3))
    assert shown.tolist() == [NOTHING, NOTHING, BLUE]


def test_labels_get_other_types() -> None:
    colors = NucleusColormap.of(np.array([0, 1, 2], np.uint8), TYPES, selected=np.array([1]))
    colors.renumber(np.array([1, 2, 500]), np.array([2, 1, 1], np.uint8))
    assert colors.map(np.array([0, 1, 2, 3, 500])).tolist() == [NOTHING, WHITE, RED, WHITE, RED]
    assert colors.numbers[[1, 2, 500]].tolist() == [2, 1, 1]
