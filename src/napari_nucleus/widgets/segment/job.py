"""The work behind the Segment button."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image, Labels

from napari_nucleus.edits import operations
from napari_nucleus.edits.canvas import Canvas, Points
from napari_nucleus.edits.fill import add_nuclei, segment_again
from napari_nucleus.edits.session import EditSession
from napari_nucleus.files import portable_name, sha256
from napari_nucleus.results import Result, open_result
from napari_nucleus.results.journal.edit import Edit
from napari_nucleus.results.naming import choose_destination, default_folder, run_title
from napari_nucleus.results.schema import ModelInfo, Run
from napari_nucleus.results.unfinished import finished_tiles, unfinished_folder
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tissue import Tissue
from napari_nucleus.weights.store import find_checkpoint
from napari_nucleus.widgets.segment.target import Target, Way
from napari_nucleus.widgets.shared.background import CancelToken, cancellable
from napari_nucleus.widgets.shared.layer_slide import layer_slide
from napari_nucleus.widgets.shared.layers import nuclei_layers
from napari_nucleus.widgets.shared.regions import Outline, Region

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress
    from napari_nucleus.models import NucleusModel

_HINT = "check the µm/px, or choose another region or model"


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

    @property
    def summary(self) -> str:
        """What was found, for the user."""
        if not self.found:
            return f"No nuclei were found: {_HINT}."
        return f"{self.found:,} nuclei in {self.seconds:.1f} s"


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

    @property
    def summary(self) -> str:
        """What became of the nuclei, for the user."""
        name = self.segmentation.result.path.stem
        if not self.segmentation.found:
            lost = "" if self.edit is None else f" {name} has only what was corrected;"
            return f"No nuclei were found:{lost} {_HINT}."
        if self.edit is None or self.edit.rows is None:
            return f"Nothing was added to {name}: nuclei are there already."
        gone, new = (len(rows["label"]) for rows in self.edit.rows)
        if gone:
            return f"{gone:,} nuclei of {name} were replaced by {new:,}; corrections were kept."
        return f"{new:,} nuclei were added to {name}."


@dataclass(frozen=True)
class Begun:
    """Where the nuclei of a run go, unless they go into an earlier result.

    Attributes
    ----------
    result : Path
        The result folder that is to be.
    line : str
        What was there before, for the user; empty if nothing was.
    kept : int
        Tiles that are finished.
    types : tuple of str
        Classes of the model.
    """

    result: Path
    line: str
    kept: int
    types: tuple[str, ...]


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
    tissue : Tissue or "all" or None
        What is segmented of it, None for what is found.
    device : str or None
        None takes the GPU where there is one.
    view : callable or None
        Where to begin, as `segment_steps` takes it.
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
    tissue: Tissue | Literal["all"] | None
    device: str | None
    view: Callable[[], tuple[float, float] | None] | None
    target: Target
    painted: Mapping[Path, np.ndarray]
    folder: Path | None = None
    handover: Handover = field(default_factory=Handover)

    def steps(
        self, token: CancelToken
    ) -> Generator["Progress | Handover | Begun", None, Segmentation | Filled]:
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
        out, line = self.target.folder, ""
        if out is None:
            out, line = self._destination(model.sha256)
        kept, total = finished_tiles(out)
        if kept:
            line = f"Going on: {kept} of {total} tiles were finished."
        yield Begun(out, line, kept, tuple(model.types))
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
            self.slide,
            out,
            model,
            region=self.region,
            regions=self.regions,
            tissue=self.tissue,
            device=self.device,
            view=self.view,
        )
        return (yield from cancellable(steps, token))

    def _destination(self, model: str) -> tuple[Path, str]:
        """Return the folder of a new result, and why it has a number."""
        options = {"region": self.region, "regions": self.regions, "tissue": known_by(self.tissue)}
        folder = self.folder or default_folder(self.slide)
        place = choose_destination(folder, self.slide, model, self.slide.mpp, options)
        is_numbered = place.result.stem != portable_name(self.slide.name)
        return place.result, f"A new result, {place.result.stem}: {place.reason}." * is_numbered

    def _segmentation(self, result: Result, run: Run, title: str) -> Segmentation:
        layers = nuclei_layers(result, self.transform)
        found, seconds = run["counts"]["nuclei"], run["seconds"]["total"]
        return Segmentation(result, layers, found, seconds, title)

    def _title(self, run: Run) -> str:
        # Models that were trained here share the name of their network.
        model: ModelInfo = {**run["model"], "name": Path(self.model).stem}
        return run_title({**run, "model": model})


def tiles_to_go_on_from(
    image: Image,
    mpp: float | None,
    plane: Sequence[int],
    model: str | Path,
    tissue: Tissue | Literal["all"] | None,
    folder: Path | None,
) -> tuple[int, int]:
    """Return how far a run of the whole image came that was stopped.

    Parameters
    ----------
    image : Image
        The layer.
    mpp : float or None
        µm per pixel.
    plane : sequence of int
        The plane of a stack.
    model : str or Path
        Checkpoint.
    tissue, folder : object
        As in `SegmentJob`.

    Returns
    -------
    done, total : int
        Tiles that are finished, and in all; 0 and 0 without such a run.

    Raises
    ------
    UserError
        If image or model cannot be used.
    """
    slide = layer_slide(image, mpp, plane)
    folder = folder or default_folder(slide)
    if not any(folder.glob(unfinished_folder(Path("*.nucleus")).name)):
        return 0, 0  # without looking at the image
    options = {"tissue": known_by(tissue)}
    digest = sha256(find_checkpoint(model))
    return finished_tiles(choose_destination(folder, slide, digest, slide.mpp, options).result)


def known_by(tissue: Tissue | Literal["all"] | None) -> str | None:
    """Return what a run keeps of the tissue that was chosen, to know it again."""
    return tissue.digest() if isinstance(tissue, Tissue) else tissue


def _made(canvas: Canvas, edit: Edit | None) -> Edit | None:
    return edit
