"""PNG and JPEG, decoded into memory."""

import io
import math
import warnings
from pathlib import Path

import dask.array as da
import imagecodecs
import numpy as np
from PIL import Image

from napari_nucleus.errors import UserError
from napari_nucleus.slides.pixel_size import PixelSize
from napari_nucleus.slides.pyramid import array_as_rgb, as_dask


def read_picture(path: Path, png: bool) -> tuple[list[da.Array], PixelSize | None]:
    """Read a PNG or JPEG.

    Parameters
    ----------
    path : Path
        The file.
    png : bool
        Whether it is a PNG.

    Returns
    -------
    levels : list of one (H, W, 3) dask.array.Array of uint8
        RGB in memory.
    size : PixelSize or None
        Pixel size by the resolution in the file, None if that is not plausible.

    Raises
    ------
    UserError
        If it is damaged or too large, or its pixels cannot be converted to RGB for certain.
    """
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of the size that is refused below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        with image:
            dpi = image.info.get("dpi", (0, 0))
            if png:  # Pillow would cut 16-bit samples down to 8
                pixels = imagecodecs.png_decode(data)
            else:
                pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path.name} is too large for PNG or JPEG: save it as a tiled, pyramidal TIFF"
        ) from error
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{path.name} is damaged or truncated ({error}): copy or export it again"
        ) from error
    size = PixelSize(*(25400 / float(side) if side > 0 else math.nan for side in dpi))
    return [array_as_rgb(as_dask(pixels), path.name)], size if size.is_plausible else None
