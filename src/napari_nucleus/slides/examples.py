"""Tissue that comes along, through scikit-image."""

from skimage.color import hed2rgb, rgb2hed
from skimage.data import immunohistochemistry
from skimage.util import img_as_ubyte

from napari_nucleus.slides.slide import Slide, slide_from_arrays


def colon() -> Slide:
    """Return a picture of colon, 512 × 512, in the colours of H&E.

    It is stained with haematoxylin and DAB, which is brown and here shown as eosin, because models
    know no brown tissue. Its µm/px is documented nowhere; the smallest nuclei, of about 6 µm, are
    12 pixels wide.
    """
    haematoxylin, eosin, dab = range(3)
    stains = rgb2hed(immunohistochemistry())
    stains[..., haematoxylin] *= 1.8  # a counterstain is pale
    stains[..., eosin] = 0.3 * stains[..., dab]
    stains[..., dab] = 0
    return slide_from_arrays([img_as_ubyte(hed2rgb(stains))], mpp=0.5, name="colon")
