"""Many images, one after the other: what is finished stays, what fails costs only itself."""

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_nucleus.inference.cluster import started
from napari_nucleus.inference.pipeline import Progress, segment_steps
from napari_nucleus.models import NucleusModel
from napari_nucleus.models.checkpoints import load_checkpoint
from napari_nucleus.results import Result
from napari_nucleus.results.export import write_csv
from napari_nucleus.results.naming import choose_destination, default_folder, finished_result
from napari_nucleus.slides import Slide, open_slide
from napari_nucleus.weights.store import DEFAULT_MODEL


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes
    ----------
    image : Path
        The image.
    result : Result or None
        Its result; None if it failed.
    csv : Path or None
        The table beside it.
    was_finished : bool
        Whether the result was there before.
    reason : str
        What a new result replaces, or why it has a number (`Destination`).
    seconds : float
        How long it took.
    error : Exception or None
        Why it failed.
    """

    image: Path
    result: Result | None = None
    csv: Path | None = None
    was_finished: bool = False
    reason: str = ""
    seconds: float = 0.0
    error: Exception | None = None


def segment_many(
    images: Iterable[str | Path],
    out: str | Path | None = None,
    model: str | Path | NucleusModel = DEFAULT_MODEL,
    *,
    mpp: float | None = None,
    scene: int | str | None = None,
    srgb: bool = False,
    region: tuple[int, int, int, int] | None = None,
    tissue: Literal["all"] | None = None,
    device: str | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    on_open: Callable[[Slide], object] = lambda slide: None,
) -> Generator[Path | Progress | Outcome, None, None]:
    """Segment images one after the other, each into a result folder and a table.

    An image that has a result of the same segmentation, corrected or not, is not segmented again,
    and an unfinished one goes on (`segment_steps`): after closing the generator, or a crash, the
    same call takes up where it was.

    Parameters
    ----------
    images : iterable of str or Path
        Their files.
    out : str or Path or None
        Folder for the results; None is that of each image (`default_folder`).
    model : str or Path or NucleusModel
        Name or file of a checkpoint, or a loaded model.
    mpp, scene, srgb : object
        As `open_slide` takes them, the same for all images.
    region, tissue, device, scheduler : object
        As `segment_steps` takes them, the same for all images.
    resume : bool
        Whether an image fails that was begun with another model, µm/px, option or version of
        napari-nucleus, in place of being begun anew beside that.
    on_open : callable
        Called with every image when it is open.

    Yields
    ------
    Path
        The image that is begun.
    Progress
        How far it is.
    Outcome
        What became of it.

    Raises
    ------
    UserError
        If the model cannot be used, or there are no workers.
    """
    network = model if isinstance(model, NucleusModel) else load_checkpoint(model)
    with started(scheduler) as address:
        for image in map(Path, images):
            begun = time.perf_counter()
            yield image
            try:
                slide = open_slide(image, mpp, scene, srgb)
                on_open(slide)
                folder = default_folder(slide) if out is None else Path(out)
                options = {"region": region, "tissue": tissue}
                wanted = folder, slide, network.sha256, slide.require_mpp(), options
                result = finished_result(*wanted)
                was_finished = result is not None
                if result is None:
                    place = choose_destination(*wanted, resume)
                    csv, reason = place.csv, place.reason
                    result = yield from segment_steps(
                        slide,
                        place.result,
                        network,
                        region=region,
                        tissue=tissue,
                        device=device,
                        scheduler=address,
                    )
                else:
                    csv, reason = result.path.with_suffix(".csv"), ""
                if not (was_finished and csv.exists()):
                    write_csv(result, csv)
            except Exception as error:  # also an unexpected one costs only this image
                yield Outcome(image, error=error, seconds=time.perf_counter() - begun)
            else:
                seconds = time.perf_counter() - begun
                yield Outcome(image, result, csv, was_finished, reason, seconds)
