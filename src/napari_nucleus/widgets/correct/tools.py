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
        "Start on a nucleus to enlarge it, or beside one to draw a new one.",
    )
    ERASE = "Erase", "E", "erase", "", "Rub out what belongs to no nucleus."
    FILL = "Fill", "F", "fill", "", "Click into an outline that you have painted."
    SPLIT = "Split", "S", "pan_zoom", "line", "Draw a line across a nucleus, from side to side."
    MERGE = "Merge", "G", "pan_zoom", "line", "Draw a line across the pieces, or click two."
    DELETE = "Delete", "D", "pan_zoom", "lasso", "Click a nucleus, or draw around many."
    ADD = "Add", "A", "pan_zoom", "box", "Click a nucleus that is missing, or draw a box around it."
    CLASSIFY = "Classify", "C", "pan_zoom", "lasso", "Click a nucleus, or draw around many."
    REVIEW = (
        "Review",
        "R",
        "pan_zoom",
        "box",
        "Draw a box in which you have seen every nucleus; click one to unmark it.",
    )

    def __init__(self, title: str, key: str, mode: str, trace: str, hint: str) -> None:
        self.title = title
        self.key = key
        self.mode = mode
        self.trace = trace
        self.hint = hint


MAKES_NUCLEI = (Tool.PAINT, Tool.FILL, Tool.ADD)
"""Tools whose new nuclei are of the chosen class."""
