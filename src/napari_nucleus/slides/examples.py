"""Sample image, from scikit-image."""

from skimage.color import hed2rgb, rgb2hed
from skimage.data import immunohistochemistry
from skimage.util import img_as_ubyte

from napari_nucleus.slides.slide import Slide, slide_from_arrays


def colon() -> Slide:
    """Return an image of colon in the colours of H&E.

    The tissue is stained with haematoxylin and DAB, whose brown is replaced by eosin, because
    models are trained on H&E. The µm/px is not documented; the smallest nuclei, of about 6 µm, are
    12 pixels wide.

    Returns
    -------
    Slide
        512 × 512 pixels of 0.5 µm.
    """
    haematoxylin, eosin, dab = range(3)
    stains = rgb2hed(immunohistochemistry())
    stains[..., haematoxylin] *= 1.8  # the counterstain is pale
    stains[..., eosin] = 0.3 * stains[..., dab]
    stains[..., dab] = 0
    return slide_from_arrays([img_as_ubyte(hed2rgb(stains))], mpp=0.5, name="colon")
