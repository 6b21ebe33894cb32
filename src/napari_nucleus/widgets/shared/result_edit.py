"""Edit a result from a widget, whether or not it is open for correction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.components import LayerList
from napari.layers import Image, Labels
from napari.utils.notifications import show_error

from napari_nucleus.errors import UserError
from napari_nucleus.results import open_result
from napari_nucleus.widgets.shared.background import Failure, in_background
from napari_nucleus.widgets.shared.layers import (
    journal_size,
    labels_of,
    nuclei_layers,
    placement_of,
    renew,
    result_of,
)
from napari_nucleus.widgets.shared.open_session import image_of, open_session
from napari_nucleus.widgets.shared.shown_results import shown_results


def edit_result(
    layers: LayerList,
    nuclei: Labels,
    operation: Callable[..., Any],
    *arguments: object,
    done: Callable[[], object] = lambda: None,
) -> None:
    """Make an edit of a result, which enters its journal, and show it.

    Parameters
    ----------
    layers : LayerList
        Those of the viewer.
    nuclei : Labels
        The `nuclei` layer of the result.
    operation : callable
        A function of `edits.operations` or `edits.annotations`.
    *arguments : object
        What it takes after the canvas.
    done : callable
        Called when the edit is shown, or an error.
    """
    folder = result_of(nuclei)
    assert folder is not None
    if (editor := shown_results.editors.get(folder)) is not None:
        editor.apply(operation, *arguments)
        done()
        return

    def show(outcome: tuple[int, tuple[Labels, Labels]] | Failure) -> None:
        try:
            if isinstance(outcome, Failure):
                if not isinstance(outcome.error, UserError):
                    raise outcome.error
                show_error(str(outcome.error))
            elif folder not in shown_results.editors:
                _show(layers, nuclei, *outcome)
        finally:
            done()

    image = image_of(folder, layers)
    in_background(_edit, folder, image, placement_of(nuclei), operation, arguments, then=show)


def _edit(
    folder: Path,
    image: Image | None,
    transform: dict[str, Any],
    operation: Callable[..., Any],
    arguments: tuple[object, ...],
) -> tuple[int, tuple[Labels, Labels]]:
    """Return the size of the journal before the edit, and the layers after it."""
    with open_session(folder, image) as session:
        before = journal_size(folder)
        session.apply(operation, *arguments)
    return before, nuclei_layers(open_result(folder), transform)


def _show(layers: LayerList, nuclei: Labels, before: int, new: tuple[Labels, Labels]) -> None:
    folder = result_of(nuclei)
    classes = labels_of(folder, "classes", layers)
    if classes is not None:
        renew(classes, new[1])
    # What was painted, but is not in the result yet, stays.
    in_step = nuclei.metadata["edits"] == before
    renew(nuclei, new[0], nuclei.data if in_step else new[0].data)
