"""Slides and results as napari layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer

from napari_nucleus.results import Result
from napari_nucleus.results.journal.rows import Rows
from napari_nucleus.slides import Slide
from napari_nucleus.slides.overview import Overview
from napari_nucleus.slides.pyramid import as_dask
from napari_nucleus.widgets.shared.background import redraw_while
from napari_nucleus.widgets.shared.large_nuclei import LargeNuclei
from napari_nucleus.widgets.shared.nucleus_colors import (
    NucleusColormap,
    class_colors,
    color_nuclei,
    hidden_types,
    selected_nuclei,
)
from napari_nucleus.widgets.shared.shown_results import shown_results

# Pixels up to which labels are one array in memory, as napari can paint in no other. Its outlines
# halt the window for 20 ms per megapixel.
PAINTABLE = 2**23

# Pixels up to which a level is read before the image appears and is kept, so that zooming out reads
# no file.
_OVERVIEW = 2**24

_TRANSFORM = ("affine", "rotate", "scale", "shear", "translate", "units")

FILL = 0.1
"""Opacity of the `classes` of a new result, at which the chromatin is seen."""


def image_layer(slide: Slide) -> Image:
    """Return a slide as an image layer at its true scale.

    Its metadata are `path` and `mpp`, and `scene` and `srgb` unless they are the default.

    Where all of a large file must be read to see it from afar, the layer appears at once and fills
    from its centre.

    Raises
    ------
    UserError
        If the file cannot be decoded.
    """
    levels: list[Any] = list(with_overview(slide).levels)
    missing = slide.overview if is_to_be_made(slide) else None
    if missing is not None:
        levels[-len(missing.shown) :] = missing.shown
    multiscale = len(levels) > 1
    layer = Image(
        levels if multiscale else levels[0].compute(),
        name=slide.name,
        rgb=True,
        multiscale=multiscale,
        metadata=_metadata(slide),
        **placement(slide.mpp),
    )
    if missing is not None:
        redraw_while(missing.steps(), partial(_shows, missing))
    return layer


def _shows(overview: Overview, layer: Layer) -> bool:
    """Tell whether a layer has the levels of an overview."""
    levels = layer.data if isinstance(layer, Image) and layer.multiscale else ()
    return any(level is overview.shown[-1] for level in levels)


def with_overview(slide: Slide) -> Slide:
    """Return the slide with its smaller levels in memory, unless much must be read for them.

    Raises
    ------
    UserError
        If the file cannot be decoded.
    """
    if is_to_be_made(slide):
        return slide
    large = [level for level in slide.levels if level.shape[0] * level.shape[1] > _OVERVIEW]
    small = [
        as_dask(slide.read(0, 0, level.shape[1], level.shape[0], index))
        for index, level in enumerate(slide.levels)
        if index >= len(large)
    ]
    return replace(slide, levels=(*large, *small))


def is_to_be_made(slide: Slide) -> bool:
    """Tell whether a slide has no overview, and one takes longer than a user waits for a window."""
    overview = slide.overview
    return overview is not None and not overview.is_whole and overview.pixels > _OVERVIEW


def _metadata(slide: Slide) -> dict[str, Any]:
    """Return what `layer_slide` finds the file by."""
    metadata: dict[str, Any] = {"path": slide.path and str(slide.path), "mpp": slide.mpp}
    if slide.scenes.other is not None:
        metadata["scene"] = slide.scenes.other
    if slide.srgb:
        metadata["srgb"] = True
    return metadata


def placement(mpp: float | None) -> dict[str, Any]:
    """Return scale and unit of a layer, in micrometres where they are known."""
    return {} if mpp is None else {"scale": (mpp, mpp), "units": ("um", "um")}


def placement_of(layer: Layer) -> dict[str, Any]:
    """Return the transform of a layer, or of the planes of a stack, to give another the same."""
    if layer.ndim == 2:
        return {name: getattr(layer, name) for name in _TRANSFORM}
    origin, down, right = (
        np.asarray(layer.data_to_world((*(0,) * (layer.ndim - 2), *place)))[-2:]
        for place in ((0, 0), (1, 0), (0, 1))
    )
    scale = np.asarray(layer.scale)[-2:]
    affine = np.eye(3)
    affine[:2] = np.column_stack([(down - origin) / scale[0], (right - origin) / scale[1], origin])
    return {"scale": scale, "affine": affine, "units": layer.units[-2:]}


def nuclei_layers(result: Result, transform: Mapping[str, Any]) -> tuple[Labels, Labels]:
    """Return a result as two label layers, the lower one first.

    Parameters
    ----------
    result : Result
        The result. Labels of a large one are read as they are viewed.
    transform : mapping of str to Any
        Position and scale of the layers: `placement` or `placement_of`.

    Returns
    -------
    nuclei : Labels
        The labels, as outlines in the colours of the types, with the table as features
        (`features_of`), which a large one reads when it is asked (`LargeNuclei`).
    classes : Labels
        For each pixel, the number of its nucleus's type in the order of `Result.types`, from 1 on;
        0 is background. Almost transparent in the colours of the types.
    """
    names = list(result.types)
    labels: Any
    types: Any
    if np.prod(result.shape) <= PAINTABLE:
        table = result.table()
        lookup = _numbers_of_types(table, names)
        labels = result.read_labels(0, 0, *result.shape[::-1])
        types = lookup[labels]
        layer, features = Labels, features_of(table)
    else:
        lookup = _numbers_of_types(result.nuclei(("label", "type")).columns, names)
        labels = list(result.labels)
        # Nuclei that are added in another window have no type until the result is read again.
        padded = np.append(lookup, np.uint8(0))
        types = [level.map_blocks(padded.take, mode="clip", dtype=np.uint8) for level in labels]
        layer, features = LargeNuclei, None
    shared = {"multiscale": isinstance(labels, list), **transform}
    metadata = {
        "result": str(result.path),
        "types": result.types,
        "counts": result.run["counts"],
        "started": result.run["started"],
        "edits": journal_size(result.path),
    }
    nuclei = layer(
        labels,
        name="nuclei",
        colormap=NucleusColormap.of(lookup, result.types),
        opacity=1,
        features=features,
        metadata={"shows": "nuclei", **metadata},
        **shared,
    )
    nuclei.contour = 2
    classes = Labels(
        types,
        name="classes",
        colormap=class_colors(result.types),
        opacity=FILL,
        features=class_names(result.types),
        metadata={"shows": "classes", **metadata},
        **shared,
    )
    return nuclei, classes


def features_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return nuclei as the features of their layer: napari finds a label in the column `index`."""
    return table.assign(index=table["label"])


def class_names(types: Iterable[str]) -> pd.DataFrame:
    """Return the features of a `classes` layer: the names of its numbers."""
    return pd.DataFrame({"type": ["", *types]})


def journal_size(folder: Path) -> int:
    """Return the size of a result's journal in bytes, which changes with every correction."""
    journal = folder / "edits.jsonl"
    return journal.stat().st_size if journal.exists() else 0


def result_of(layer: Layer) -> Path | None:
    """Return the result folder that an image or its labels belong to."""
    folder = layer.metadata.get("result")
    return None if folder is None else Path(folder)


def run_of(nuclei: Labels) -> tuple[str, str]:
    """Return what the run has to itself whose nuclei or classes a layer shows."""
    return nuclei.metadata["result"], nuclei.metadata["started"]


def results_of(image: Image) -> list[Path]:
    """Return all result folders that belong to an image layer, the latest last."""
    latest = result_of(image)
    known = [Path(folder) for folder in image.metadata.get("results", ())]
    return known if latest is None or latest in known else [*known, latest]


def labels_of(folder: Path | None, shows: str, layers: Iterable[Layer]) -> Labels | None:
    """Return the layer that shows the `nuclei` or `classes` of a result, None without one."""
    if folder is None:
        return None
    labels = (one for one in layers if isinstance(one, Labels) and result_of(one) == folder)
    return next((one for one in labels if one.metadata.get("shows") == shows), None)


def layers_of(folder: Path, layers: Iterable[Layer]) -> list[Labels]:
    """Return all layers that show nuclei or classes of a result, or of a region of it."""
    labels = (one for one in layers if isinstance(one, Labels) and result_of(one) == folder)
    return [one for one in labels if "shows" in one.metadata]


def hide_types(folder: Path, hidden: Sequence[str], layers: Iterable[Layer]) -> None:
    """Draw the nuclei of all types of a result but some."""
    for layer in layers_of(folder, layers):
        layer.metadata["hidden"] = list(hidden)
        types = layer.metadata["types"]
        if isinstance(colors := layer.colormap, NucleusColormap):
            color_nuclei(layer, colors.numbers, types)
        elif is_classes(layer):
            layer.colormap = class_colors(types, hidden)
    shown_results.changed.emit(folder)


def select_nuclei(folder: Path, labels: np.ndarray, layers: Iterable[Layer]) -> None:
    """Draw some nuclei of a result as selected, in place of those before."""
    for layer in layers_of(folder, layers):
        colors = layer.colormap
        if isinstance(colors, NucleusColormap) and not np.array_equal(colors.selected, labels):
            types, hidden = layer.metadata["types"], hidden_types(layer)
            layer.colormap = NucleusColormap.of(colors.numbers, types, hidden, labels)


def is_classes(layer: Labels) -> bool:
    """Tell whether the values of a layer are numbers of types."""
    return str(layer.metadata.get("shows")).startswith("classes")


def renew(layer: Labels, new: Labels, pixels: Any = None) -> None:
    """Show another result of the same image in a layer, with the user's display settings.

    Replacing the layer is slower, and some versions of Mesa's OpenGL crash on it.

    Parameters
    ----------
    layer : Labels
        The layer.
    new : Labels
        A layer of the other result.
    pixels : Any
        The data to show, None for that of `new`.
    """
    _renew_colors(layer, new)
    # First, because callbacks on new data look up here which result they belong to.
    layer.metadata.update(new.metadata)
    layer.data = new.data if pixels is None else pixels
    layer.features = new.features
    for name in _TRANSFORM:
        if not np.array_equal(getattr(layer, name), getattr(new, name)):
            setattr(layer, name, getattr(new, name))  # which redraws the layer
    shown_results.changed.emit(result_of(layer))


def _renew_colors(layer: Labels, new: Labels) -> None:
    types = new.metadata["types"]
    others = layer.metadata["types"] != types
    if not isinstance(new.colormap, NucleusColormap):
        if others:
            layer.colormap = class_colors(types, hidden_types(layer))
        return
    same_run = run_of(layer) == run_of(new)
    selected = selected_nuclei(layer) if same_run else None
    colors = NucleusColormap.of(new.colormap.numbers, types, hidden_types(layer), selected)
    if others:
        layer.colormap = colors
    elif isinstance(layer.colormap, NucleusColormap):  # else the user has chosen another
        layer.colormap.replace(colors)  # and draws it once, with its data


def _numbers_of_types(table: pd.DataFrame | Rows, types: list[str]) -> np.ndarray:
    """Return the number of the type of every label, 0 for background, as uint8."""
    labels = np.asarray(table["label"])
    codes, names = pd.factorize(table["type"])
    numbers = np.zeros(labels.max(initial=0) + 1, np.uint8)
    numbers[labels] = np.array([types.index(name) + 1 for name in names], np.uint8)[codes]
    return numbers
