"""Colours: from those of a scanner, as its ICC profile describes them, to sRGB."""

import io
from collections.abc import Sequence

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from napari_nucleus.errors import UserError


class SRGB:
    """Conversion to sRGB by an ICC profile, with the rendering intent that it names.

    Parameters
    ----------
    profile : bytes
        The profile.
    name : str
        Name of the image, for the message.

    Raises
    ------
    UserError
        If the profile is damaged, or not one of RGB.
    """

    def __init__(self, profile: bytes, name: str) -> None:
        try:
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
            target = ImageCms.createProfile("sRGB")
            self._transform = ImageCms.buildTransform(source, target, "RGB", "RGB", intent)
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            raise UserError(
                f"{name} has an ICC profile that cannot be used ({error}): open it without sRGB",
                "srgb",
            ) from error

    def levels(self, levels: Sequence[da.Array]) -> list[da.Array]:
        """Return levels that are converted when computed.

        Parameters
        ----------
        levels : sequence of (H, W, 3) dask.array.Array of uint8
            RGB of the scanner.

        Returns
        -------
        list of (H, W, 3) dask.array.Array of uint8
            sRGB.
        """
        meta = np.empty((0, 0, 0), np.uint8)
        return [da.map_blocks(self.pixels, one, dtype=np.uint8, meta=meta) for one in levels]

    def pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return converted pixels.

        Parameters
        ----------
        pixels : (H, W, 3) ndarray of uint8
            RGB of the scanner.

        Returns
        -------
        (H, W, 3) ndarray of uint8
            sRGB.
        """
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(ImageCms.applyTransform(image, self._transform))

    def color(self, color: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return a converted colour.

        Parameters
        ----------
        color : tuple of 3 int
            Red, green and blue of the scanner.

        Returns
        -------
        tuple of 3 int
            In sRGB.
        """
        red, green, blue = self.pixels(np.array([[color]], np.uint8))[0, 0].tolist()
        return red, green, blue
