"""What the mouse does to nuclei."""

from enum import Enum, unique


@unique
class Tool(Enum):
    """A tool.

    Attributes
    ----------
    title : str
        What its button says.
    key : str
        The key that takes it.
    mode : str
        Mode of the labels layer meanwhile.
    trace : str
        What a drag draws: a ``"line"``, a ``"lasso"`` or a ``"box"``; empty where napari sees to
        the mouse.
    hint : str
        What to do with it, in one line.
    """

    MOVE = "Move", "Z", "pan_zoom", "", "Drag to move the view."
    PAINT = (
        "Paint",
        "P",
        "paint",
        "",
        "Start on a nucleus to extend it, or on the background to draw a new one.",
    )
    ERASE = "Erase", "E", "erase", "", "Erase pixels that do not belong to a nucleus."
    FILL = "Fill", "F", "fill", "", "Click inside an outline that you have painted."
    SPLIT = "Split", "S", "pan_zoom", "line", "Draw a line across a nucleus, from side to side."
    MERGE = "Merge", "G", "pan_zoom", "line", "Draw a line across the nuclei, or click two."
    DELETE = "Delete", "D", "pan_zoom", "lasso", "Click a nucleus, or draw around several."
    ADD = "Add", "A", "pan_zoom", "box", "Click a missing nucleus, or draw a box around it."
    CLASSIFY = "Classify", "C", "pan_zoom", "lasso", "Click a nucleus, or draw around several."
    REVIEW = (
        "Review",
        "R",
        "pan_zoom",
        "box",
        "Draw a box around a fully reviewed area; click it to remove the mark.",
    )

    def __init__(self, title: str, key: str, mode: str, trace: str, hint: str) -> None:
        self.title = title
        self.key = key
        self.mode = mode
        self.trace = trace
        self.hint = hint


MAKES_NUCLEI = (Tool.PAINT, Tool.FILL, Tool.ADD)
"""Tools whose new nuclei are of the chosen class."""
