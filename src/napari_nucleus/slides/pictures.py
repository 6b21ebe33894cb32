"""PNG and JPEG, decoded into memory."""

import io
import math
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.slides.pixel_size import PixelSize
from napari_nucleus.slides.pyramid import array_as_rgb, as_dask
from napari_nucleus.slides.stored import StoredImage, choose_scene

_RGB = "RGB", "RGBA", "P"

PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG."""


def read_picture(path: Path, scene: int | str | None = None) -> StoredImage:
    """Read a PNG or JPEG.

    Parameters
    ----------
    path : Path
        The file.
    scene : int or str or None
        The only image in it.

    Returns
    -------
    StoredImage
        In memory, its pixel size by the resolution in the file.

    Raises
    ------
    UserError
        If it is too large, its pixels cannot be converted to RGB for certain, or there is no such
        image.
    OSError, RuntimeError, SyntaxError, ValueError
        If it is damaged.
    """
    choose_scene(path.name, [""], scene)
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of the size that is refused below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path.name} is too large for PNG or JPEG: save it as a tiled, pyramidal TIFF"
        ) from error
    with image:
        dpi = image.info.get("dpi", (0, 0))
        profile = image.info.get("icc_profile") if image.mode in _RGB else None
        if data.startswith(PNG):  # Pillow would cut 16-bit samples down to 8
            pixels = imagecodecs.png_decode(data)
        else:
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    size = PixelSize(*(25400 / float(side) if side > 0 else math.nan for side in dpi))
    return StoredImage(
        [array_as_rgb(as_dask(pixels), path.name)],
        size if size.is_plausible else None,
        profile=profile,
    )
