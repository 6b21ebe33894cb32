"""Where the viewer looks, in level-0 pixels of a layer."""

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_nucleus.errors import UserError
from napari_nucleus.slides.tiles import Box
from napari_nucleus.widgets.shared.regions import visible_region

# A nucleus that is looked at takes between these shares of the canvas.
_SMALLEST, _LARGEST = 0.06, 0.5
_GOOD = 0.15

_ALMOST_ALL = 0.9  # of the canvas, that several nuclei take

_STEP = 0.25  # of what is in view, that a key moves it by


class Viewport:
    """The camera of a viewer over a result.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    whole : Labels
        A layer in the coordinates of the whole result.
    """

    def __init__(self, viewer: ViewerModel, whole: Labels) -> None:
        self._viewer = viewer
        self._whole = whole

    @property
    def zoom(self) -> float:
        """Pixels of the screen per level-0 pixel."""
        step = np.subtract(self._whole.data_to_world((0, 1)), self._whole.data_to_world((0, 0)))
        return float(self._viewer.scene.camera.zoom * np.linalg.norm(step))

    def visible(self) -> Box:
        """Return what is in view.

        Raises
        ------
        UserError
            If nothing is.
        """
        x, y, width, height = visible_region(self._viewer, self._whole)
        return Box(x, y, x + width, y + height)

    def look_at(self, box: Box) -> None:
        """Bring a nucleus into the middle; zoom only if it would be too small or too large."""
        share = max(box.width, box.height) * self.zoom / min(self._viewer.canvas.size)
        if not _SMALLEST <= share <= _LARGEST:
            self.zoom_by(_GOOD / share)
        self._center(box)

    def take_in(self, box: Box) -> None:
        """Bring several nuclei into the middle; zoom out only if they would not fit."""
        share = max(np.array([box.height, box.width]) * self.zoom / self._viewer.canvas.size)
        if share > 1:
            self.zoom_by(_ALMOST_ALL / share)
        self._center(box)

    def zoom_by(self, factor: float) -> None:
        """Enlarge what is in the middle."""
        self._viewer.scene.camera.zoom *= factor

    def move_by(self, right: int, down: int) -> None:
        """Move the view by steps."""
        camera = self._viewer.scene.camera
        step = np.array(self._viewer.canvas.size) * _STEP / camera.zoom
        center = np.array(camera.center)
        center[-2:] += step * (down, right)
        camera.center = center

    def _center(self, box: Box) -> None:
        center = self._whole.data_to_world(((box.y0 + box.y1 - 1) / 2, (box.x0 + box.x1 - 1) / 2))
        self._viewer.scene.camera.center = center


class ViewCenter:
    """The centre of what is in view of an image, for jobs in other threads.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Image
        One of its layers.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer = viewer
        self._image = image
        self._center: tuple[float, float] | None = None
        self._update()
        for event in self._events:
            event.connect(self._update)

    def __call__(self) -> tuple[float, float] | None:
        """Return the centre (x, y) in level-0 pixels, None where the image is out of view."""
        return self._center

    def close(self) -> None:
        """Follow the viewer no longer."""
        for event in self._events:
            event.disconnect(self._update)

    @property
    def _events(self) -> tuple[Any, ...]:
        events = self._viewer.scene.camera.events
        return events.center, events.zoom

    def _update(self, event: Any = None) -> None:
        try:
            x, y, width, height = visible_region(self._viewer, self._image)
        except UserError:
            self._center = None
        else:
            self._center = x + width / 2, y + height / 2
