"""Outline of a missing nucleus: by SAM, or by the maps of the network that made the result."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256
from napari_nucleus.prompts.by_network import Outline, propose_nucleus
from napari_nucleus.prompts.by_sam import Prompter, window_around
from napari_nucleus.results import open_result
from napari_nucleus.slides import Slide
from napari_nucleus.slides.tiles import Box
from napari_nucleus.weights.store import DEFAULT_MODEL, list_checkpoints

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel


class OutlineProposer:
    """Outlines nuclei of a result; takes a while, so it belongs into a thread, one at a time.

    Parameters
    ----------
    slide : Slide
        The image of the result.
    mpp : float or None
        µm per level-0 pixel, None if unknown.
    result : Path
        The result folder, which names the network.
    sam : Path or None
        Weights of SAM; None uses the network that made the result.
    """

    def __init__(self, slide: Slide, mpp: float | None, result: Path, sam: Path | None) -> None:
        self._slide = slide
        self._mpp = mpp
        self._folder = result
        self._sam = sam

    def outline(self, prompt: tuple[float, float] | Box) -> Outline:
        """Return the nucleus at a point or in a box.

        Parameters
        ----------
        prompt : tuple of 2 float or Box
            (x, y), or a box, in level-0 pixels whose centres have whole coordinates.

        Returns
        -------
        Outline
            The nucleus, in level-0 pixels.

        Raises
        ------
        UserError
            If there is none, or the weights cannot be read.
        """
        return self._by_network(prompt) if self._sam is None else self._by_sam(prompt)

    def _by_sam(self, prompt: tuple[float, float] | Box) -> Outline:
        x, y = _middle(prompt)
        rows, columns = window_around(x, y, self._slide.shape, self._mpp)
        left, top = columns.start, rows.start
        self._prompter.set_image(self._slide.read(left, top, columns.stop - left, rows.stop - top))
        if isinstance(prompt, Box):
            mask = self._prompter.box(
                prompt.x0 - left, prompt.y0 - top, prompt.x1 - left, prompt.y1 - top
            )
        else:
            mask = self._prompter.click(x - left, y - top)
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        return Outline(part, left + int(xs[0]), top + int(ys[0]))

    def _by_network(self, prompt: tuple[float, float] | Box) -> Outline:
        if self._mpp is None:
            raise UserError(
                "The µm/px of the image is unknown, and the network needs it: paint the nucleus."
            )
        x, y = _middle(prompt)
        return propose_nucleus(self._slide, self._network, x, y, self._mpp)

    @cached_property
    def _prompter(self) -> Prompter:
        from napari_nucleus.models.sam.model import load_sam

        assert self._sam is not None
        return Prompter(load_sam(self._sam))

    @cached_property
    def _network(self) -> "NucleusModel":
        """The network that made the result, or that which ships where it is not at hand."""
        from napari_nucleus.models.checkpoints import load_checkpoint

        wanted = open_result(self._folder).run["model"]["sha256"]
        files = list_checkpoints()
        name = next((name for name, file in files.items() if sha256(file) == wanted), DEFAULT_MODEL)
        return load_checkpoint(name)


def _middle(prompt: tuple[float, float] | Box) -> tuple[float, float]:
    if isinstance(prompt, Box):
        return (prompt.x0 + prompt.x1 - 1) / 2, (prompt.y0 + prompt.y1 - 1) / 2
    return prompt
