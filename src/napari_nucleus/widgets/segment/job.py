"""The work behind the Segment button."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_nucleus.errors import UserError
from napari_nucleus.results import Result
from napari_nucleus.results.naming import choose_destination, default_folder
from napari_nucleus.slides import Slide
from napari_nucleus.widgets.shared.background import CancelToken, cancellable
from napari_nucleus.widgets.shared.layers import nuclei_layers

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress


@dataclass(frozen=True)
class Segmentation:
    """A result and its layers (`nuclei_layers`)."""

    result: Result
    layers: tuple[Labels, Labels]


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
    region : tuple of int or None
        ``(x, y, width, height)`` in level-0 pixels, None for the whole image.
    outline : list of tuple of float or None
        Corners (x, y) of a polygon in level-0 pixels that nuclei must lie in; None for no limit.
    device : str or None
        None takes the GPU where there is one.
    """

    slide: Slide
    transform: Mapping[str, Any]
    model: str | Path
    region: tuple[int, int, int, int] | None
    outline: list[tuple[float, float]] | None
    device: str | None

    def steps(self, token: CancelToken) -> Generator["Progress", None, Segmentation]:
        """Segment; files are written from the first step on.

        Raises
        ------
        UserError
            If weights or image cannot be read, the disk is full, or there are no nuclei.
        """
        from napari_nucleus.inference import segment_steps
        from napari_nucleus.models.checkpoints import load_checkpoint

        model = load_checkpoint(self.model)
        self.slide.digest()  # reads all of a large file, once
        regions = {"region 1": self.outline} if self.outline else None
        region = None if regions else self.region
        place = choose_destination(
            default_folder(self.slide),
            self.slide,
            model.sha256,
            self.slide.mpp,
            {"region": region, "regions": regions},
        )
        token.commit()
        steps = segment_steps(
            self.slide, place.result, model, region=region, regions=regions, device=self.device
        )
        result = yield from cancellable(steps, token, _check_found)
        return Segmentation(result, nuclei_layers(result, self.transform))


def _check_found(progress: "Progress") -> None:
    if progress.done == progress.total and not progress.nuclei:
        raise UserError("No nuclei found: check the µm/px, or choose another region or model.")
