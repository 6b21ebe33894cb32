"""The formats that `open_slide` reads, as dialogs, the command line and the manifest list them.

``docs/formats.md`` has the same table, and which backend reads what.
"""

from typing import NamedTuple


class Format(NamedTuple):
    """A format of files.

    Attributes
    ----------
    name : str
        As users know it.
    suffixes : tuple of str
        Those of its files, or folders, in lower case.
    """

    name: str
    suffixes: tuple[str, ...]


FORMATS = (
    Format("PNG, JPEG", (".png", ".jpg", ".jpeg")),
    Format("TIFF, OME-TIFF, Philips, Trestle", (".tif", ".tiff", ".btf")),
    Format("Aperio", (".svs",)),
    Format("Hamamatsu", (".ndpi", ".vms", ".vmu")),
    Format("Akoya, PerkinElmer", (".qptiff",)),
    Format("3DHISTECH", (".mrxs",)),
    Format("Leica", (".scn",)),
    Format("Ventana", (".bif",)),
    Format("Sakura", (".svslide",)),
    Format("Zeiss", (".czi",)),
    Format("DICOM", (".dcm",)),
    Format("OME-Zarr", (".zarr",)),
)

SUFFIXES = tuple(suffix for one in FORMATS for suffix in one.suffixes)
"""Suffixes of all formats, in lower case."""
