"""The work behind the Train button."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nucleus.retraining import Retraining
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.shared.background import Cancelled, CancelToken, cancellable

if TYPE_CHECKING:
    from napari_nucleus.retraining.loop import Retrained, Update


@dataclass(frozen=True)
class Training:
    """The best model of a run, and whether the run was cancelled."""

    retrained: "Retrained"
    cancelled: bool


@dataclass(frozen=True)
class TrainJob:
    """A training to run.

    Attributes
    ----------
    retraining : Retraining
        Data, model and options.
    out : Path
        Folder of the run.
    resume : bool
        Whether to resume the run in that folder.
    images : mapping of Path to Slide
        Result folder to its image, for results that are open.
    """

    retraining: Retraining
    out: Path
    resume: bool
    images: Mapping[Path, Slide]

    def steps(self, token: CancelToken) -> Generator["Update", None, Training]:
        """Train; a cancelled run returns its best model so far.

        Raises
        ------
        Cancelled
            If the run was cancelled before it had a model.
        UserError
            If data or weights cannot be used, or the disk is full.
        """
        from napari_nucleus.retraining.loop import Retrained, retrain_steps

        steps = retrain_steps(self.retraining, self.out, self.resume, self.images)
        try:
            return Training((yield from cancellable(steps, token)), cancelled=False)
        except Cancelled:
            best = Retrained.read(self.out)
            if best is None:
                raise
            return Training(best, cancelled=True)
