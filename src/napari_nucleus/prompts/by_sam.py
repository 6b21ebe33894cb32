"""A click or a box becomes the mask of one nucleus, by SAM.

Nuclei are small beside what SAM was made for, so it looks at a window around the prompt, enlarged
to its 1024 px: `window_around` says which.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_nucleus.errors import UserError
from napari_nucleus.measure import DEFAULT_MPP

if TYPE_CHECKING:
    from torch import Tensor

    from napari_nucleus.models.sam.model import FrozenSam

WINDOW = 96.0
"""Side of the window that SAM looks at, in µm.

Of 64, 96 and 128 µm the best for clicks: MobileSAM on 124 nuclei of TNBC and CoNSeP (40x) reaches a
mean IoU of 0.69, 0.73 and 0.72 by a click on the centroid, of 0.80, 0.81 and 0.81 by a tight box.
"""

_MIN_AREA = 30
_MAX_SHARE = 0.25
"""Least pixels and largest share of the image of a nucleus."""

Point = tuple[float, float]


def window_around(
    x: float, y: float, shape: tuple[int, int], mpp: float | None = None
) -> tuple[slice, slice]:
    """Choose the part of an image that a prompt is answered from.

    Windows lie on a grid of half their side, so that prompts near each other share one, and with
    it the embedding, which is what takes time.

    Parameters
    ----------
    x, y : float
        The click, or the middle of the box, in pixels.
    shape : tuple of 2 int
        H and W of the image.
    mpp : float or None
        Micrometres per pixel; None where it is unknown.

    Returns
    -------
    tuple of slice
        Rows and columns, inside the image, with the prompt at least a quarter of the window from
        every edge that is not the image's.

    Examples
    --------
    >>> window_around(1000, 60, (2000, 2000), mpp=0.25)
    (slice(0, 384, None), slice(768, 1152, None))
    """
    half = round(WINDOW / (mpp or DEFAULT_MPP) / 2)
    rows, columns = (_span(at, size, half) for at, size in ((y, shape[0]), (x, shape[1])))
    return rows, columns


class Prompter:
    """Asks SAM for the nucleus at a click or in a box.

    Parameters
    ----------
    sam : FrozenSam
        As `napari_nucleus.models.sam.model.load_sam` gives it.

    Examples
    --------
    ::

        prompter = Prompter(load_sam("vit_t"))
        rows, columns = window_around(x, y, image.shape[:2], mpp)
        prompter.set_image(image[rows, columns])
        mask = prompter.click(x - columns.start, y - rows.start)
    """

    def __init__(self, sam: "FrozenSam") -> None:
        self._sam = sam
        self._image: np.ndarray | None = None
        self._embedding: Tensor | None = None

    def set_image(self, image: np.ndarray) -> None:
        """Embed the image that the next prompts are for; the same image is embedded only once.

        Parameters
        ----------
        image : (H, W, 3) ndarray of uint8
            RGB.
        """
        if self._image is not None and np.array_equal(image, self._image):
            return
        import torch
        from torch.nn.functional import interpolate

        pixels = torch.from_numpy(np.moveaxis(image, 2, 0).copy())[None].float() / 255
        height, width = _enlarged(image.shape[:2])
        enlarged = interpolate(pixels, (height, width), mode="bilinear", antialias=True)
        self._embedding = self._sam.embed(enlarged)
        self._image = image.copy()

    def click(self, x: float, y: float, exclude: Sequence[Point] = ()) -> np.ndarray:
        """Find the nucleus at a point.

        Parameters
        ----------
        x, y : float
            Pixels of the image; the middle of the first pixel is (0, 0).
        exclude : sequence of Point
            Points, (x, y), that the nucleus must leave out.

        Returns
        -------
        ndarray
            Bool (H, W): one component without holes.

        Raises
        ------
        UserError
            If there is nothing that can be a nucleus.
        """
        height, width = self._shape
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
            raise UserError("The click is outside of the image: click on a nucleus.")
        mask = self._nucleus([(x, y), *exclude], [1] + [0] * len(exclude), None)
        if mask is None:
            raise UserError("No nucleus was found there: draw a box around it, or paint it.")
        return mask

    def box(self, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
        """Find the nucleus in a box.

        Parameters
        ----------
        x0, y0, x1, y1 : float
            Its edges in pixels of the image, of which the first reaches from 0 to 1, as in the
            table of nuclei.

        Returns
        -------
        ndarray
            Bool (H, W): one component without holes.

        Raises
        ------
        UserError
            If the box is empty or outside of the image, or nothing in it can be a nucleus.
        """
        height, width = self._shape
        x0, x1 = np.clip(sorted((x0, x1)), 0, width)
        y0, y1 = np.clip(sorted((y0, y1)), 0, height)
        if min(x1 - x0, y1 - y0) < 1:
            raise UserError("The box is empty or outside of the image: draw it around a nucleus.")
        mask = self._nucleus([], [], (x0 - 0.5, y0 - 0.5, x1 - 0.5, y1 - 0.5))
        if mask is None:
            raise UserError("No nucleus was found in the box: draw it closer, or paint it.")
        return mask

    @property
    def _shape(self) -> tuple[int, int]:
        if self._image is None:
            raise RuntimeError("Prompts need an image: call set_image first.")
        return self._image.shape[0], self._image.shape[1]

    def _nucleus(
        self,
        points: list[Point],
        inside: list[int],
        box: tuple[float, float, float, float] | None,
    ) -> np.ndarray | None:
        """Return the smallest of SAM's masks that can be a nucleus; None if none can.

        SAM itself ranks highest what is most clearly bounded, such as a clump or a gland: by its
        first choice clicks on 60 nuclei reach a mean IoU of 0.72, by this one 0.75; loose boxes
        0.77 and 0.80.
        """
        at = (round(points[0][1]), round(points[0][0])) if points else None
        pieces = [_component(mask, at) for mask in self._propose(points, inside, box)]
        limit = _MAX_SHARE * pieces[0].size
        nuclei = [piece for piece in pieces if _MIN_AREA <= np.count_nonzero(piece) <= limit]
        return min(nuclei, key=np.count_nonzero, default=None)

    def _propose(
        self,
        points: list[Point],
        inside: list[int],
        box: tuple[float, float, float, float] | None,
    ) -> np.ndarray:
        """Return SAM's masks of a part, an object and a whole, bool (3, H, W)."""
        import torch

        network, device = self._sam.network, self._sam.device
        enlarged = _enlarged(self._shape)
        scale = max(enlarged) / max(self._shape)

        def prompt(coordinates: Sequence[float] | Sequence[Point]) -> "Tensor":
            pixels = torch.tensor(coordinates, dtype=torch.float32, device=device)
            return ((pixels + 0.5) * scale - 0.5)[None]

        with torch.no_grad():
            sparse, dense = network.prompt_encoder(
                points=(prompt(points), torch.tensor([inside], device=device)) if points else None,
                boxes=prompt(box) if box else None,
                masks=None,
            )
            coarse, _ = network.mask_decoder(
                image_embeddings=self._embedding,
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            logits = network.postprocess_masks(coarse, enlarged, self._shape)[0]
        return (logits > network.mask_threshold).cpu().numpy()


def _span(at: float, size: int, half: int) -> slice:
    start = round((at - half) / half) * half
    start = max(min(start, size - 2 * half), 0)
    return slice(start, min(start + 2 * half, size))


def _enlarged(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return H and W of the image with its longer side brought to SAM's."""
    from napari_nucleus.models.sam.model import SIDE

    height, width = (round(SIDE * side / max(shape)) for side in shape[:2])
    return height, width


def _component(mask: np.ndarray, at: tuple[int, int] | None) -> np.ndarray:
    """Return the mask's component at a row and column, or its largest, with holes filled."""
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask))
    if at is not None:
        label = labels[at]
    else:
        label = np.bincount(labels.ravel())[1:].argmax() + 1 if count else 0
    return (labels == label) & (label > 0)
