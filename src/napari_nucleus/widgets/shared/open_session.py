"""Open a result for correction, with the image that it was made from."""

from collections.abc import Iterable
from pathlib import Path

from napari.layers import Image, Layer

from napari_nucleus.edits.session import EditSession
from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import results_of


class ImageMoved(UserError):
    """The image of a result is not where it was; the user is asked for it."""


def open_session(folder: Path, image: Image | Path | None) -> EditSession:
    """Open a result for correction.

    Parameters
    ----------
    folder : Path
        The result.
    image : Image or Path or None
        Its image: the layer that shows it or a file; None for the file that it was made from.

    Raises
    ------
    ImageMoved
        If `image` is None and that file is not there, or another one.
    UserError
        If the result is damaged, or the image is another one.
    """
    return EditSession(folder, _slide(folder, image))


def image_of(folder: Path, layers: Iterable[Layer]) -> Image | None:
    """Return the layer that shows the image of a result, None without one."""
    images = (one for one in layers if isinstance(one, Image) and folder in results_of(one))
    return next(images, None)


def _slide(folder: Path, image: Image | Path | None) -> Slide:
    result = open_result(folder)
    if isinstance(image, Image):
        return layer_slide(image, result.mpp)
    if image is not None:
        return result.read_image(image)
    try:
        return result.open_image()
    except UserError as error:
        raise ImageMoved(str(error)) from error
