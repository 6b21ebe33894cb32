"""Where new nuclei go: into a result of their own, or into one that is open."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from napari.layers import Labels
from qtpy.QtWidgets import QComboBox, QMessageBox, QWidget

from napari_nucleus.widgets.shared.choices import shrinkable
from napari_nucleus.widgets.shared.layers import result_of


class Way(Enum):
    """What becomes of new nuclei."""

    NEW = "a new result"
    REPLACE = "replace the result"
    ADD = "fill the free places of the result"
    AGAIN = "replace what nobody has corrected"


@dataclass(frozen=True)
class Target:
    """Where new nuclei go.

    Attributes
    ----------
    way : Way
        What becomes of them.
    folder : Path or None
        The result that changes, None for a new one.
    """

    way: Way = Way.NEW
    folder: Path | None = None


class TargetChoice(QComboBox):
    """A new result, or one of those that are open of the image."""

    def __init__(self) -> None:
        super().__init__()
        self._targets = [Target()]
        shrinkable(self)
        self.setToolTip(
            "New result: beside earlier ones.\n"
            "Add: keep all nuclei of the result and fill free places.\n"
            "Replace: the result is overwritten, unless it has corrections."
        )
        self.show_results([])

    @property
    def target(self) -> Target:
        """What is chosen."""
        return self._targets[max(self.currentIndex(), 0)]

    def show_results(self, nuclei: Sequence[Labels]) -> None:
        """Offer results, by their `nuclei` layers; keep what is chosen if it is still there."""
        before = self.target
        folders = [folder for one in nuclei if (folder := result_of(one)) is not None]
        self._targets = [Target()]
        self.clear()
        self.addItem("New result")
        for folder in folders:
            for way, word in ((Way.ADD, "Add to"), (Way.REPLACE, "Replace")):
                self._targets.append(Target(way, folder))
                self.addItem(f"{word} {folder.stem}")
        self.setCurrentIndex(self._targets.index(before) if before in self._targets else 0)


def ask_about_corrections(parent: QWidget, folder: Path, open_: bool) -> Target | None:
    """Ask what becomes of a result with corrections.

    Parameters
    ----------
    parent : QWidget
        The widget that asks.
    folder : Path
        The result.
    open_ : bool
        Whether it is being corrected now.

    Returns
    -------
    Target or None
        None to do nothing.
    """
    box = QMessageBox(parent)
    box.setWindowTitle("Segment nuclei")
    box.setIcon(QMessageBox.Icon.Question)
    state = "is being corrected" if open_ else "has corrections"
    box.setText(f"{folder.stem} {state}.")
    box.setInformativeText(
        "Keep corrections and reviewed regions, and replace all other nuclei? Or make a new result "
        "beside it?"
    )
    keep = box.addButton("Keep corrections", QMessageBox.ButtonRole.AcceptRole)
    new = box.addButton("New result", QMessageBox.ButtonRole.ActionRole)
    box.addButton(QMessageBox.StandardButton.Cancel)
    box.setDefaultButton(keep)
    box.exec()
    if box.clickedButton() is keep:
        return Target(Way.AGAIN, folder)
    return Target() if box.clickedButton() is new else None
