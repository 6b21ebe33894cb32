"""Readers for result folders and slides."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Image, Layer
from napari.utils.notifications import show_error

from napari_nucleus.errors import UserError
from napari_nucleus.results import Result, open_result
from napari_nucleus.slides import open_slide
from napari_nucleus.widgets.shared.layers import image_layer, nuclei_layers, placement
from napari_nucleus.widgets.shared.scale import show_scale_bar

Reader = Callable[[str], list[Any]]


def read_result(path: str | Sequence[str]) -> Reader | None:
    """Return the reader of a result folder, which also opens its image if that is still there."""
    return _reader(path, _result_layers) if _is_result(path) else None


def read_slide(path: str | Sequence[str]) -> Reader | None:
    """Return the reader of a slide, a file or a folder, at its true scale."""
    return None if _is_result(path) else _reader(path, _slide_layers)


def _is_result(path: str | Sequence[str]) -> bool:
    """Tell whether a path is a result: napari asks all readers of folders for any folder."""
    if not isinstance(path, str):
        return False
    return Path(path).suffix == ".nucleus" or (Path(path) / "run.json").is_file()


def _reader(path: str | Sequence[str], read: Callable[[str], list[Layer]]) -> Reader | None:
    """Return `read` with a `UserError` shown as a notification; None for several files."""

    def read_or_report(file: str) -> list[Any]:
        try:
            return read(file)
        except UserError as error:
            show_error(str(error))
            return [(None,)]  # tells napari that the file was handled, without a layer

    return read_or_report if isinstance(path, str) else None


def _slide_layers(path: str) -> list[Layer]:
    slide = open_slide(path)
    if slide.mpp is not None:
        show_scale_bar()
    return [image_layer(slide)]


def _result_layers(path: str) -> list[Layer]:
    result = open_result(path)
    image = _image_of(result)
    labels = nuclei_layers(result, placement(result.mpp))
    if result.mpp is not None:
        show_scale_bar()
    return [*labels] if image is None else [image, *labels]


def _image_of(result: Result) -> Image | None:
    for place in result.image_paths():
        try:
            slide = result.read_image(place)
        except UserError:  # the nuclei can be seen without it
            continue
        if slide.shape == result.shape:  # else another image of that name
            layer = image_layer(slide)
            layer.metadata["result"] = str(result.path)
            return layer
    return None
