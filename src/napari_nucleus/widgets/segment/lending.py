"""A result that is being corrected is lent to the job that segments it again."""

from collections.abc import Iterable
from pathlib import Path

from napari.layers import Labels, Layer

from napari_nucleus.widgets.segment.job import Handover
from napari_nucleus.widgets.shared.layers import result_of
from napari_nucleus.widgets.shared.shown_results import shown_results


def lend(handover: Handover, folder: Path | None, layers: Iterable[Layer]) -> None:
    """Let a job work on a result that is being corrected; until it ends nobody else does.

    Parameters
    ----------
    handover : Handover
        Gets the session, or None where the job may open one.
    folder : Path or None
        The result.
    layers : iterable of Layer
        Those of the viewer.
    """
    editor = None if folder is None else shown_results.editors.get(folder)
    if editor is None or not editor.take_in():
        handover.give(None)
        return
    editor.session.read_only = f"{editor.session.path.name} is being segmented again."
    _let_paint(editor.session.path, layers, False)
    handover.give(editor.session)


def take_back(handover: Handover, layers: Iterable[Layer]) -> None:
    """Let the user correct the result again, once the job has ended.

    Parameters
    ----------
    handover : Handover
        What was lent.
    layers : iterable of Layer
        Those of the viewer.
    """
    session = handover.session
    if session is not None and session.path in shown_results.editors:
        session.read_only = ""
        _let_paint(session.path, layers, True)


def _let_paint(folder: Path, layers: Iterable[Layer], allowed: bool) -> None:
    for layer in layers:
        if isinstance(layer, Labels) and result_of(layer) == folder:
            layer.editable = allowed
