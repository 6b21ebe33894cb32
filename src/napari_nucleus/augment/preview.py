"""A contact sheet of patches: as they were cut, and as the network sees them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from napari_nucleus.models.batch import Batch, Crops
from napari_nucleus.nucleus_types import UNKNOWN, type_colors

_CAPTIONS = ("", "as the network sees it", "horizontal distance", "vertical distance")
_BLOCKS = 2
"""Patches beside each other."""
_PANEL = 2.3
"""Side of a picture in inches, each of 150 pixels."""
_DETAIL = 480
"""About the pixels of a picture before it is fitted into the sheet; outlines are two wide."""

_UNTYPED = ("type not known", "#ffffff")
_DOUBTFUL = ("may be several nuclei", "#101010")
_IGNORED = ("not learned", "#8c8c8c")


def preview_sheet(
    crops: Crops, batch: Batch, types: Sequence[str], title: str = ""
) -> NDArray[np.uint8]:
    """Draw a contact sheet.

    Parameters
    ----------
    crops : Crops
        What was cut.
    batch : Batch
        What an augmentation made of it.
    types : sequence of str
        Names of the types, in the order of their index from 1.
    title : str
        Headline.

    Returns
    -------
    ndarray
        Uint8 (H, W, 3): for each patch its middle as it was cut, the patch as the network sees it,
        both with the outlines of the nuclei in the colours of their types, and its distance maps
        from red (-1) to blue (1).
    """
    crops = crops.to("cpu")
    count, side = len(batch.names), batch.images.shape[-1]
    rows = -(-count // _BLOCKS)
    colors = type_colors(types)
    palette = np.array([to_rgb(color) for color in (_UNTYPED[1], *colors.values())])
    maps = colormaps["RdBu"].with_extremes(bad=_IGNORED[1])
    height = rows * (_PANEL + 0.3) + 0.9
    figure = Figure(figsize=(_BLOCKS * 4.2 * _PANEL, height), dpi=150)
    figure.suptitle(title, y=1 - 0.15 / height, fontsize=14, weight="bold")
    panels = figure.add_gridspec(
        rows,
        _BLOCKS * 5 - 1,
        width_ratios=[*[1] * 4, *[0.15, 1, 1, 1, 1] * (_BLOCKS - 1)],
        hspace=0.12,
        wspace=0.03,
        left=0.005,
        right=0.995,
        bottom=0.45 / height,
        top=1 - 0.6 / height,
    )
    for i in range(count):
        pictures = (
            _as_cut(crops, i, side, palette),
            _as_seen(batch, i, palette),
            *_distance_maps(batch, i),
        )
        row, block = divmod(i, _BLOCKS)
        for column, (picture, caption) in enumerate(zip(pictures, _CAPTIONS, strict=True)):
            axes = figure.add_subplot(panels[row, 5 * block + column])
            axes.imshow(picture, cmap=maps, vmin=-1, vmax=1)
            axes.set_title(caption or batch.names[i], fontsize=9, loc="left", pad=3)
            axes.axis("off")
    entries = [*colors.items(), _UNTYPED, _DOUBTFUL, _IGNORED]
    handles = [Patch(facecolor=color, edgecolor="#808080", label=name) for name, color in entries]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_preview(
    path: Path, crops: Crops, batch: Batch, types: Sequence[str], title: str = ""
) -> None:
    """Write the contact sheet of `preview_sheet` as an image.

    Parameters
    ----------
    path : Path
        File to write, in the format of its suffix.
    crops : Crops
        Patches as they were cut.
    batch : Batch
        The same patches after augmentation.
    types : sequence of str
        Names of the types.
    title : str
        Heading of the sheet.
    """
    Image.fromarray(preview_sheet(crops, batch, types, title)).save(path)


def _as_cut(crops: Crops, i: int, side: int, palette: NDArray) -> NDArray[np.float64]:
    margin = (crops.labels.shape[-1] - side) // 2
    inner = slice(margin, margin + side)
    labels = crops.labels[i, inner, inner].numpy()
    nuclei = labels.clip(min=0)
    types, doubtful = crops.types[i].numpy()[nuclei], crops.doubtful[i].numpy()[nuclei]
    types = np.where(types == UNKNOWN, 0, types)
    image = crops.images[i, inner, inner].numpy() / 255
    return _outlined(image, nuclei, types, doubtful, labels >= 0, palette)


def _as_seen(batch: Batch, i: int, palette: NDArray) -> NDArray[np.float64]:
    image = batch.images[i].movedim(0, -1).cpu().numpy()
    labels, types, seen, shaped = (
        tensor[i].cpu().numpy() for tensor in (batch.labels, batch.tp, batch.seen, batch.shaped)
    )
    return _outlined(image, labels, types, ~shaped, seen, palette)


def _outlined(
    image: NDArray,
    labels: NDArray,
    types: NDArray,
    doubtful: NDArray,
    seen: NDArray,
    palette: NDArray,
) -> NDArray[np.float64]:
    """Enlarge an image, and draw the outlines of its nuclei."""
    factor = max(round(_DETAIL / len(image)), 1)
    labels, types, doubtful, seen = (
        array.repeat(factor, 0).repeat(factor, 1) for array in (labels, types, doubtful, seen)
    )
    size = (factor * len(image), factor * len(image))
    picture = np.asarray(cv2.resize(image.astype(float), size), np.float64)
    picture[~seen] = 0.3 * picture[~seen] + 0.7 * np.array(to_rgb(_IGNORED[1]))
    inside = minimum_filter(labels, 7) == maximum_filter(labels, 7)
    edge = (labels > 0) & ~inside
    picture[edge] = np.where(doubtful[edge, None], to_rgb(_DOUBTFUL[1]), palette[types[edge]])
    return picture


def _distance_maps(batch: Batch, i: int) -> list[NDArray[np.float64]]:
    """Return both maps; what is not learned is NaN."""
    return [np.where(batch.shaped[i].cpu(), plane.cpu(), np.nan) for plane in batch.hv[i]]
