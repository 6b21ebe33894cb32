"""The work behind the Segment button."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_nucleus.edits import operations
from napari_nucleus.edits.canvas import Canvas, Points
from napari_nucleus.edits.fill import add_nuclei, segment_again
from napari_nucleus.edits.session import EditSession
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.journal.edit import Edit
from napari_nucleus.results.naming import choose_destination, default_folder, run_title
from napari_nucleus.results.schema import ModelInfo, Run
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.segment.target import Target, Way
from napari_nucleus.widgets.shared.background import CancelToken, cancellable
from napari_nucleus.widgets.shared.layers import nuclei_layers
from napari_nucleus.widgets.shared.regions import Outline, Region

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress
    from napari_nucleus.models import NucleusModel


@dataclass(frozen=True)
class Segmentation:
    """What a run has found.

    Attributes
    ----------
    result : Result
        The result that was made or changed.
    layers : tuple of 2 Labels
        Its layers (`nuclei_layers`).
    found : int
        Nuclei of the run.
    seconds : float
        How long it took.
    title : str
        Region, model and time of the run; empty for an earlier result.
    """

    result: Result
    layers: tuple[Labels, Labels]
    found: int
    seconds: float
    title: str


@dataclass(frozen=True)
class Filled:
    """Nuclei that went into an earlier result.

    Attributes
    ----------
    segmentation : Segmentation
        The result with its new layers, as it was before if the edit is still to be made.
    edit : Edit or None
        The edit, None where nothing changes.
    number : int
        Its number in the journal, 0 if it is still to be made, in the session that is open.
    """

    segmentation: Segmentation
    edit: Edit | None
    number: int


class Handover:
    """Lets a job wait until the window lends it the session in which a result is corrected.

    Attributes
    ----------
    session : EditSession or None
        The session, None where the job may open one.
    """

    def __init__(self) -> None:
        self.session: EditSession | None = None
        self._given = Event()

    def give(self, session: EditSession | None) -> None:
        """Lend the session, which nobody changes until the job ends."""
        self.session = session
        self._given.set()

    def wait(self, token: CancelToken) -> None:
        """Wait for it; raise `Cancelled` once the window is gone."""
        while not self._given.wait(0.1):
            token.check()


@dataclass(frozen=True)
class SegmentJob:
    """A segmentation to run.

    Attributes
    ----------
    slide : Slide
        The image, with its µm/px.
    transform : mapping of str to Any
        Position and scale of its layer (`placement_of`).
    model : str or Path
        Checkpoint.
    region : Region or None
        ``(x, y, width, height)`` in level-0 pixels, None for the whole image or `regions`.
    regions : dict of str to Outline or None
        Polygons by name that nuclei must lie in, None for no limit.
    device : str or None
        None takes the GPU where there is one.
    target : Target
        Where the nuclei go.
    painted : mapping of Path to ndarray
        Labels (H, W) of results in which the user has painted: they become part of these first.
    folder : Path or None
        Folder for a new result, None for the default one.
    handover : Handover
        Asked for by yielding it, before an earlier result changes.
    """

    slide: Slide
    transform: Mapping[str, Any]
    model: str | Path
    region: Region | None
    regions: dict[str, Outline] | None
    device: str | None
    target: Target
    painted: Mapping[Path, np.ndarray]
    folder: Path | None = None
    handover: Handover = field(default_factory=Handover)

    def steps(
        self, token: CancelToken
    ) -> Generator["Progress | Handover", None, Segmentation | Filled]:
        """Segment; files are written from the first step on.

        Raises
        ------
        UserError
            If weights or image cannot be read, or the disk is full.
        """
        from napari_nucleus.models.checkpoints import load_checkpoint

        model = load_checkpoint(self.model)
        self.slide.digest()  # which takes a while on a slow disk, before anything is written
        token.commit()
        for folder, labels in self.painted.items():
            with EditSession(folder, self.slide) as session:
                session.apply(operations.paint, 0, 0, labels, next(iter(session.types)))
        if self.target.way in (Way.ADD, Way.AGAIN):
            assert self.target.folder is not None
            return (yield from self._fill(self.target.folder, model, token))
        out = self.target.folder or self._destination(model.sha256)
        result = yield from self._run(out, model, token)
        return self._segmentation(result, result.run, self._title(result.run))

    def _fill(
        self, folder: Path, model: "NucleusModel", token: CancelToken
    ) -> Generator["Progress | Handover", None, Filled]:
        with TemporaryDirectory(prefix="napari-nucleus-", ignore_cleanup_errors=True) as temporary:
            new = yield from self._run(Path(temporary) / folder.name, model, token)
            yield self.handover
            self.handover.wait(token)
            operation = self._operation(new)
            if (session := self.handover.session) is not None:
                edit, number = operation(session), 0
            else:
                with EditSession(folder, self.slide) as session:
                    edit = operation(session)
                    session.apply(_made, edit)
                    number = session.done[-1].number if edit is not None else 0
            found = self._segmentation(open_result(folder), new.run, "")
        return Filled(found, edit, number)

    def _operation(self, new: Result) -> Callable[[EditSession], Edit | None]:
        if self.target.way is Way.ADD:
            return lambda session: add_nuclei(session.canvas, new)
        return lambda session: segment_again(session.canvas, new, session.done, self._within())

    def _within(self) -> list[Points] | None:
        if self.regions is not None:
            return list(self.regions.values())
        if self.region is None:
            return None
        x, y, width, height = self.region
        x0, y0, x1, y1 = x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5
        return [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]]

    def _run(
        self, out: Path, model: "NucleusModel", token: CancelToken
    ) -> Generator["Progress", None, Result]:
        from napari_nucleus.inference import segment_steps

        steps = segment_steps(
            self.slide, out, model, region=self.region, regions=self.regions, device=self.device
        )
        return (yield from cancellable(steps, token))

    def _destination(self, model: str) -> Path:
        options = {"region": self.region, "regions": self.regions}
        folder = self.folder or default_folder(self.slide)
        return choose_destination(folder, self.slide, model, self.slide.mpp, options).result

    def _segmentation(self, result: Result, run: Run, title: str) -> Segmentation:
        layers = nuclei_layers(result, self.transform)
        found, seconds = run["counts"]["nuclei"], run["seconds"]["total"]
        return Segmentation(result, layers, found, seconds, title)

    def _title(self, run: Run) -> str:
        # Models that were trained here share the name of their network.
        model: ModelInfo = {**run["model"], "name": Path(self.model).stem}
        return run_title({**run, "model": model})


def _made(canvas: Canvas, edit: Edit | None) -> Edit | None:
    return edit
