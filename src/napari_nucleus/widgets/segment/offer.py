"""Says that a stopped run is there, which Segment goes on with."""

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer, Signal

from napari_nucleus.errors import UserError
from napari_nucleus.widgets.segment.form import WHOLE, SegmentForm
from napari_nucleus.widgets.segment.job import known_by, tiles_to_go_on_from
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.layer_pixels import plane_in_view
from napari_nucleus.widgets.shared.preferences import preferences

_PAUSE = 300
"""Milliseconds without a change after which is looked for a run."""


class Offer(QObject):
    """Looks for a stopped run of what is chosen, in the background.

    Parameters
    ----------
    form : SegmentForm
        What is chosen.
    viewer : ViewerModel
        The viewer with the image.
    """

    told = Signal(str)
    """What there is, for the user; empty if there is nothing."""

    def __init__(self, form: SegmentForm, viewer: ViewerModel) -> None:
        super().__init__(form)
        self._form = form
        self._viewer = viewer
        self._asked: tuple[object, ...] = ()
        self._is_looking = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._look)
        for signal in (
            form.layer.currentIndexChanged,
            form.model.currentIndexChanged,
            form.mpp.valueChanged,
            form.where.currentIndexChanged,
            form.tissue.changed,
        ):
            signal.connect(self._on_changed)
        self._on_changed()

    def forget(self) -> None:
        """Tell again what was told already."""
        self._asked = ()

    def _on_changed(self) -> None:
        self._timer.start()

    def _look(self) -> None:
        image, model = self._form.layer.layer, self._form.model.checkpoint
        if image is None or model is None or self._form.where.currentText() != WHOLE:
            self._asked = ()
            self.told.emit("")
            return
        if self._is_looking:  # for what was chosen before
            self._timer.start()
            return
        try:
            mpp, folder = self._form.mpp.mpp, preferences().folder_of_results()
        except UserError:  # said when it is used
            return
        plane, tissue = plane_in_view(self._viewer, image), self._form.tissue.tissue
        question = image, mpp, plane, model, known_by(tissue), folder
        if question == self._asked:
            return
        self._asked, self._is_looking = question, True
        in_background(
            tiles_to_go_on_from, image, mpp, plane, model, tissue, folder, then=self._on_found
        )

    def _on_found(self, found: tuple[int, int] | Failure) -> None:
        self._is_looking = False
        if isinstance(found, Failure):
            if not isinstance(found.error, UserError):
                raise found.error
            found = 0, 0
        if not self._timer.isActive():  # else something else was chosen
            done, total = found
            text = f"Unfinished: {done} of {total} tiles are kept. Segment goes on from there."
            self.told.emit(text if done else "")
