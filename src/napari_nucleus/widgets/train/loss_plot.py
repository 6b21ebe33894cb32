"""Losses and validation scores of a run under way."""

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme

from napari_nucleus.training.curves import draw_losses, draw_scores, read_log

_SIZE = (3.0, 2.4)
"""Width and height in inches of 100 pixels."""

_MARGINS = {"left": 0.15, "right": 0.97, "bottom": 0.16, "top": 0.97, "hspace": 0.15}
"""Of the axes in the figure; a layout by matplotlib takes twice as long, with the window halted."""


class LossPlot(FigureCanvasQTAgg):
    """Draws the log of a run, and the score of the initial model.

    Parameters
    ----------
    theme : str
        Name of the napari theme to take colours from.
    """

    def __init__(self, theme: str) -> None:
        super().__init__(Figure(figsize=_SIZE))
        colors = get_theme(theme)
        ink, ground = colors.text.as_hex(), colors.background.as_hex()
        self._style: Any = {
            "font.size": 7,
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": ink,
            "axes.facecolor": ground,
            "xtick.color": ink,
            "ytick.color": ink,
            "lines.linewidth": 1,
        }
        self.figure.set_facecolor(ground)
        self.setFixedHeight(round(100 * _SIZE[1]))
        self.setMinimumWidth(round(60 * _SIZE[0]))

    def show_log(self, log: Path, steps: int, epochs: int, before: dict[str, float]) -> None:
        """Draw a run.

        Parameters
        ----------
        log : Path
            Its ``log.csv``, which may still be written to.
        steps : int
            Complete steps in the log; 0 draws nothing.
        epochs : int
            Epochs of the whole run.
        before : dict of str to float
            Scores of the initial model.
        """
        self.figure.clear()
        rows = read_log(log)[:steps] if steps else []
        if rows:
            with rc_context(self._style):
                upper, lower = self.figure.subplots(2, 1, sharex=True, gridspec_kw=_MARGINS)
                draw_losses(upper, rows)
                self._draw_scores(lower, rows, before)
                upper.set_xlim(0.5, epochs + 0.5)
                # What is on the axes says it; the epochs are below the lower one.
                upper.set(title="", xlabel="", ylabel="loss")
                lower.set_title("")
        self.draw_idle()

    def _draw_scores(
        self, axes: Axes, rows: list[dict[str, str]], before: dict[str, float]
    ) -> None:
        if not any(row["scores"] for row in rows):
            axes.set_axis_off()
            return
        draw_scores(axes, rows)
        if "pq" in before:
            color = next(line.get_color() for line in axes.lines if line.get_label() == "PQ")
            axes.axhline(before["pq"], color=color, linestyle=":", label="PQ before")
            axes.legend(frameon=False)
