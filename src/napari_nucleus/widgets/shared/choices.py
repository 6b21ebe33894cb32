"""Choices and fields that several forms have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari.layers import Image, Labels, Layer
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFileDialog

from napari_nucleus.errors import UserError
from napari_nucleus.slides.pixel_size import check_mpp
from napari_nucleus.weights.description import description, summary
from napari_nucleus.weights.sam import missing_sam
from napari_nucleus.weights.store import DEFAULT_MODEL, find_checkpoint, list_checkpoints, read_card
from napari_nucleus.widgets.shared.layer_pixels import conversion
from napari_nucleus.widgets.shared.layers import result_of
from napari_nucleus.widgets.shared.preferences import preferences
from napari_nucleus.widgets.shared.steady_label import SteadyLabel

_MPP_TIP = "Micrometres per pixel: about 0.25 for a 40× scan, 0.5 for 20×"
_IMPLAUSIBLE = "#ff7b72"

_FROM_FILE = "From file…"

_SUMMARY = Qt.ItemDataRole.UserRole + 1


def shrinkable(choice: QComboBox) -> QComboBox:
    """Keep long entries from widening the dock."""
    choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    choice.setMinimumContentsLength(12)
    return choice


class MppField(QDoubleSpinBox):
    """Micrometres per pixel, or unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(4)
        # Also what is implausible can be typed, and is refused: 250 must not become 25.
        self.setRange(0, 100_000)
        self.setSingleStep(0.05)
        self.setSpecialValueText("unknown")
        self.setToolTip(_MPP_TIP)
        self.valueChanged.connect(self._show_plausibility)

    @property
    def mpp(self) -> float | None:
        """µm per pixel, None while unknown.

        Raises
        ------
        UserError
            If the value is not a plausible one.
        """
        return check_mpp(self.value()) if self.value() else None

    @mpp.setter
    def mpp(self, mpp: float | None) -> None:
        self.setValue(mpp or 0)

    def _show_plausibility(self) -> None:
        problem = ""
        try:
            self.mpp  # noqa: B018
        except UserError as error:
            problem = str(error)
        self.setStyleSheet(f"color: {_IMPLAUSIBLE}" if problem else "")
        self.setToolTip(problem or _MPP_TIP)


class ImageChoice(QComboBox):
    """The image layers of a viewer, each with what its pixels need to become RGB."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self._images: list[Image] = []
        # Data of each layer with its conversion and what is wrong with it, as lazy data are slow.
        self._known: dict[Image, tuple[Any, str, str]] = {}
        self.setToolTip("Image to segment")
        shrinkable(self)
        self._list(layers)

    @property
    def layer(self) -> Image | None:
        """The chosen layer, None without one."""
        return self._images[self.currentIndex()] if self._images else None

    @property
    def conversion(self) -> str:
        """How the pixels of the chosen layer become RGB, empty for 8-bit RGB."""
        return self.currentData() or ""

    def choose(self, layer: Image) -> None:
        """Choose a layer."""
        self.setCurrentIndex(self._images.index(layer))

    def update_choices(self, layers: Iterable[Layer]) -> None:
        """Follow the viewer: choose an image that is new, else keep the one chosen.

        A new image that cannot be segmented is told about, and not chosen beside others.
        """
        for layer, problem in self._list(layers).items():
            if layer is not self.layer:
                show_warning(f"{problem} {self.currentText()} stays chosen.")

    def _list(self, layers: Iterable[Layer]) -> dict[Image, str]:
        """List and choose; return what is wrong with new images."""
        images = [one for one in layers if isinstance(one, Image)]
        new = [one for one in images if one not in self._images]
        kept = [one for one in images if one == self.layer]
        blocked = self.blockSignals(True)
        self.clear()
        self._images = images
        self._known = {one: self._known_of(one) for one in images}
        problems = {one: problem for one, (_, _, problem) in self._known.items() if problem}
        for one, (_, note, tip) in self._known.items():
            self.addItem(f"{one.name}: {note}" if note else one.name, note)
            self.setItemData(self.count() - 1, tip or note, Qt.ItemDataRole.ToolTipRole)
        suitable = [one for one in new if one not in problems]
        for one in ([*kept, *suitable] or new)[-1:]:
            self.choose(one)
        self.blockSignals(blocked)
        self.currentIndexChanged.emit(self.currentIndex())
        return {one: problems[one] for one in new if one in problems}

    def _known_of(self, layer: Image) -> tuple[Any, str, str]:
        known = self._known.get(layer)
        if known is not None and known[0] is layer.data:
            return known
        try:
            return layer.data, conversion(layer), ""
        except UserError as error:
            return layer.data, "cannot be segmented", str(error)


class ResultChoice(QComboBox):
    """The results that a viewer shows, by folder name."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        super().__init__()
        self._nuclei: list[Labels] = []
        shrinkable(self)
        self.setPlaceholderText("Segment or open a result")
        self.setToolTip("Result to correct; drop a result folder on napari to list it")
        self.update_choices(layers)

    @property
    def layer(self) -> Labels | None:
        """The `nuclei` layer of the chosen result, None without one."""
        return self._nuclei[self.currentIndex()] if self._nuclei else None

    def choose(self, nuclei: Labels) -> None:
        """Choose the result of a `nuclei` layer."""
        self.setCurrentIndex(self._nuclei.index(nuclei))

    def update_choices(self, layers: Iterable[Layer]) -> None:
        """Follow the viewer: choose a result that is new, else keep the one chosen."""
        kept = self.layer
        results = {
            one: folder
            for one in layers
            if isinstance(one, Labels) and one.metadata.get("shows") == "nuclei"
            if (folder := result_of(one)) is not None
        }
        new = [one for one in results if one not in self._nuclei]
        blocked = self.blockSignals(True)
        self.clear()
        self._nuclei = list(results)
        for folder in results.values():
            self.addItem(folder.name)
            self.setItemData(self.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole)
        if chosen := ([kept] if kept in results else []) + new:
            self.setCurrentIndex(self._nuclei.index(chosen[-1]))
        self.blockSignals(blocked)
        self.currentIndexChanged.emit(self.currentIndex())


class ModelChoice(QComboBox):
    """Models by name, those that ship and the user's own, or from a file.

    Attributes
    ----------
    summary : SteadyLabel
        What the chosen model can do, for the row below.
    """

    def __init__(self) -> None:
        super().__init__()
        shrinkable(self)
        self.summary = SteadyLabel(lines=2)
        self.setPlaceholderText("Choose a model")
        self.insertSeparator(0)
        self.addItem(_FROM_FILE)
        self.update_choices()
        known = list_checkpoints()
        preferred = (one for one in (preferences().model, DEFAULT_MODEL) if one in known)
        self.setCurrentIndex(self.findData(next(preferred, next(iter(known), None))))
        self._chosen = self.currentIndex()
        self._show_summary()
        self.currentIndexChanged.connect(self._show_summary)
        self.activated.connect(self._on_activated)

    @property
    def checkpoint(self) -> str | None:
        """Name or file of the chosen checkpoint, None without one."""
        return self.currentData()

    def update_choices(self) -> None:
        """Add models that were trained since."""
        for name, path in list_checkpoints().items():
            if self.findData(name) < 0:
                self._insert(name, name, path)

    def showPopup(self) -> None:
        """Open the list, with models that were trained since."""
        self.update_choices()
        super().showPopup()

    def choose(self, name: str) -> None:
        """Choose a model by its name."""
        self.update_choices()
        self.setCurrentIndex(self.findData(name))
        self._chosen = self.currentIndex()

    def choose_file(self, path: str | Path) -> None:
        """Add a checkpoint to the choices and choose it.

        Raises
        ------
        UserError
            If it is no valid checkpoint.
        """
        path = find_checkpoint(path)
        read_card(path)
        self._insert(path.stem, str(path), path)
        self.setCurrentIndex(self.findData(str(path)))
        self._chosen = self.currentIndex()

    def _insert(self, text: str, checkpoint: str, path: Path) -> None:
        position = max(self.count() - 2, 0)
        self.insertItem(position, text, checkpoint)
        line, tip = _about(path)
        self.setItemData(position, tip, Qt.ItemDataRole.ToolTipRole)
        self.setItemData(position, line, _SUMMARY)

    def _show_summary(self) -> None:
        tip = self.currentData(Qt.ItemDataRole.ToolTipRole) or "Model that finds the nuclei"
        self.summary.setText(self.currentData(_SUMMARY) or "")
        for widget in (self, self.summary):
            widget.setToolTip(tip)

    def _on_activated(self, index: int) -> None:
        if self.itemText(index) != _FROM_FILE:
            self._chosen = index
            return
        self.setCurrentIndex(self._chosen)
        path, _ = QFileDialog.getOpenFileName(self, "Weights", "", "Checkpoints (*.safetensors)")
        if path:
            try:
                self.choose_file(path)
            except UserError as error:
                show_error(str(error))


def _about(checkpoint: Path) -> tuple[str, str]:
    """Return what a checkpoint can do, in a line and at length, and what is wrong with it."""
    try:
        about = read_card(checkpoint)
    except UserError as error:
        return str(error), f"{checkpoint}\n{error}"
    sam = about["options"].get("sam")
    missing = missing_sam(**sam) if sam else None
    lines = [missing, description(about), f"File: {checkpoint}"]
    return summary(about), "\n".join(filter(None, lines))
