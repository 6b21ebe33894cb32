"""All dataset formats, by name."""

from napari_nucleus.datasets.formats.aperio import KUMAR, MONUSAC, MONUSEG
from napari_nucleus.datasets.formats.arrays import CONIC, PANNUKE
from napari_nucleus.datasets.formats.folder import FOLDER
from napari_nucleus.datasets.formats.masks import CRYONUSEG, NUINSSEG, TNBC
from napari_nucleus.datasets.formats.matlab import CONSEP, CPM15, CPM17, LIZARD
from napari_nucleus.datasets.formats.nucls import NUCLS
from napari_nucleus.datasets.formats.qupath import QUPATH
from napari_nucleus.datasets.formats.results import RESULT

FORMATS = {
    format.name: format
    for format in (
        FOLDER,
        QUPATH,
        RESULT,
        CONSEP,
        PANNUKE,
        KUMAR,
        MONUSEG,
        MONUSAC,
        CPM15,
        CPM17,
        TNBC,
        CRYONUSEG,
        NUINSSEG,
        CONIC,
        LIZARD,
        NUCLS,
    )
}
"""Name to format."""
