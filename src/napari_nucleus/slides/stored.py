"""What a backend returns: an image as its file has it, one of several in the file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dask.array as da

from napari_nucleus.errors import UserError
from napari_nucleus.measure.stain import WHITE
from napari_nucleus.slides.pixel_size import PixelSize


@dataclass(frozen=True)
class Scenes:
    """The images of a file, and the one that is read.

    Attributes
    ----------
    names : tuple of str
        Their names, each once, in the order of the file; of one image, it does not matter.
    chosen : int
        Number of the one that is read, from 0.
    default : int
        Number of the one that is read unless another is asked for.
    """

    names: tuple[str, ...] = ("",)
    chosen: int = 0
    default: int = 0

    @property
    def other(self) -> str | None:
        """Name of the one that is read, None if it is the default."""
        return None if self.chosen == self.default else self.names[self.chosen]


@dataclass(frozen=True)
class StoredImage:
    """An image in a file.

    Attributes
    ----------
    levels : list of (H, W, 3) dask.array.Array of uint8
        RGB, largest first, read when computed, by several threads at a time.
    size : PixelSize or None
        Pixel size of the largest level, None if the file has none that is plausible.
    white : tuple of 3 int
        Red, green and blue of light that passes no tissue, as far as the file tells.
    profile : bytes or None
        Its ICC profile.
    scenes : Scenes
        Which image of the file it is.
    fingerprint : callable or None
        Returns what identifies an image that lies in several files.
    """

    levels: list[da.Array]
    size: PixelSize | None = None
    white: tuple[int, int, int] = WHITE
    profile: bytes | None = None
    scenes: Scenes = field(default_factory=Scenes)
    fingerprint: Callable[[], str] | None = None


def choose_scene(
    file: str, names: Sequence[str], wanted: int | str | None, default: int = 0
) -> Scenes:
    """Choose one of the images of a file.

    Parameters
    ----------
    file : str
        Name of the file, for the message.
    names : sequence of str
        Names as the file has them, which may be empty or the same.
    wanted : int or str or None
        Name or number, from 0, of the one to read; None for the default.
    default : int
        Number of the one that is read unless another is asked for.

    Returns
    -------
    Scenes
        With names of their own: that of a second "tissue" is "tissue (1)", by its number.

    Raises
    ------
    UserError
        If there is no such image; the message lists those that there are.

    Examples
    --------
    >>> choose_scene("a.tif", ["tissue", "", "tissue"], "2")
    Scenes(names=('tissue', 'scene 1', 'tissue (2)'), chosen=2, default=0)
    """
    own: list[str] = []
    for number, name in enumerate(names):
        name = name or f"scene {number}"
        own.append(f"{name} ({number})" if name in own else name)
    if wanted is None:
        return Scenes(tuple(own), default, default)
    if wanted in own:
        return Scenes(tuple(own), own.index(str(wanted)), default)
    if str(wanted).isdecimal() and int(wanted) < len(own):
        return Scenes(tuple(own), int(wanted), default)
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(own))
    there = f"choose one of {listed}" if len(own) > 1 else "it has one image"
    raise UserError(f"{file} has no scene {wanted}: {there}", "scene")
